"""What the parts of a piece of work took, kept beside its result: times are no part of what it computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from shepherd import console


class Clock:
    """Wall seconds of named parts, in their order.

    Attributes:
        parts: seconds by name; a name that is used again adds to what it has.
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside, whether or not it ends well.

        Example:
            >>> clock = Clock()
            >>> with clock.part("sampling"):
            ...     pass
            >>> list(clock.parts)
            ['sampling']
        """
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started)

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.parts[name] = self.parts.get(name, 0.0) + seconds

    def to_json(self) -> dict[str, float]:
        """Seconds by name, to the hundredth."""
        return {name: round(seconds, 2) for name, seconds in self.parts.items()}

    def line(self) -> str:
        """The same for people.

        Example:
            >>> clock = Clock()
            >>> clock.add("sampling", 41.2)
            >>> clock.add("scoring", 3.9)
            >>> clock.line()
            'sampling 41 s, scoring 4 s'
        """
        return ", ".join(f"{name} {console.duration(seconds)}" for name, seconds in self.parts.items())
