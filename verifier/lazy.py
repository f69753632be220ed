"""A verifier that is loaded when there is something to score, and not before: its files say who it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shepherd.errors import ShepherdError
from verifier.counts import ScoringCounts
from verifier.description import read_description
from verifier.places import find_place

if TYPE_CHECKING:
    from verifier.scoring import Verifier


class LazyVerifier:
    """Scores as `verifier.scoring.Verifier` does.

    Args:
        name: What the user calls it.
        load: Loads it.
        device: ``auto``, ``cpu`` or ``cuda``: what `load` was told.
        engine: What computes its scores.
        threads: torch's threads while it scores; None leaves them as they are.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Verifier],
        *,
        device: str = "auto",
        engine: str = "transformers",
        threads: int | None = None,
    ) -> None:
        self.name, self.device, self.engine, self.threads = name, device, engine, threads
        self._load_now = load
        self._verifier: Verifier | None = None
        self._id = known_id(name)

    @property
    def id(self) -> str:
        """Short hash of all that decides a score; it takes loading only without a ``verifier.json``."""
        return self.load().id if self._id is None else self._id

    @property
    def counts(self) -> ScoringCounts:
        """What was scored so far."""
        return ScoringCounts() if self._verifier is None else self._verifier.counts

    def score_many(
        self, items: Sequence[tuple[str, Sequence[str]]], batch_tokens: int
    ) -> list[list[list[float]]]:
        """Step scores of every solution of every question, each in [0, 1]."""
        verifier = self.load()
        with _threads(self.threads):
            return verifier.score_many(items, batch_tokens)

    def score_steps(self, pairs: Sequence[tuple[str, Sequence[str]]], batch_tokens: int) -> list[list[float]]:
        """Step scores of solutions that are cut into steps already."""
        verifier = self.load()
        with _threads(self.threads):
            return verifier.score_steps(pairs, batch_tokens)

    def close(self) -> None:
        """Give back what the verifier holds, if it was loaded."""
        if self._verifier is not None:
            self._verifier.close()

    def unload(self) -> None:
        """Forget the verifier, to free its memory; it is loaded again when there is more to score."""
        if self._verifier is not None:
            self._id = self._verifier.id
            self.close()
            self._verifier = None

    def load(self) -> Verifier:
        """The verifier itself."""
        if self._verifier is None:
            self._verifier = self._load_now()
            if self._id not in (None, self._verifier.id):
                raise ShepherdError(
                    f"{self.name}: was verifier {self._id} and is {self._verifier.id} now; run again"
                )
        return self._verifier


def known_id(name: str) -> str | None:
    """A verifier's id as its ``verifier.json`` has it; None where that cannot be told without loading."""
    place = find_place(name)
    if place.folder is None or place.kind == "published":
        return None
    if place.kind == "exported":
        from verifier.export.description import read_description as read_exported

        return read_exported(place.folder).id
    return read_description(place.folder).id


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Give torch so many threads for a while; None leaves it as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
