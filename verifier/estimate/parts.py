"""A part of a memory estimate, and the estimate as their sum."""

from __future__ import annotations

from typing import Any, NamedTuple

GIB = 1 << 30

CONTEXT_BYTES = GIB // 2
"""What CUDA takes for itself before the first tensor: context, kernels, cuBLAS workspaces. An
allowance: 300 to 600 MiB by card and driver; no allocator counts it."""

CARDS_GIB = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)
"""Memory of common cards."""

USABLE = 0.97
"""Part of a card's memory that a process gets: the driver keeps some, the allocator's blocks round up."""


class Part(NamedTuple):
    """One part of a peak.

    Attributes:
        name: what it is.
        bytes: how much.
        how: how it is counted, in a few words.
        at_peak: False for a part that is freed before the worst moment comes; it is shown and not added.
    """

    name: str
    bytes: int
    how: str
    at_peak: bool = True


class Estimate(NamedTuple):
    """The worst moment of a run, as the sum of its parts."""

    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """Bytes of tensors at the worst moment."""
        return sum(part.bytes for part in self.parts if part.at_peak)

    @property
    def on_card(self) -> int:
        """The same with what CUDA takes for itself."""
        return self.total + CONTEXT_BYTES

    def card_gib(self) -> int | None:
        """The smallest common card that holds it; None if none does.

        Example:
            >>> Estimate((Part("weights", 10 * GIB, ""),)).card_gib()
            12
        """
        return next((card for card in CARDS_GIB if self.fits(card * GIB)), None)

    def fits(self, card_bytes: int) -> bool:
        """Does it fit a card of this memory, context and all?"""
        return self.on_card <= USABLE * card_bytes

    def to_json(self) -> dict[str, Any]:
        """As plain data, in bytes."""
        return {
            "parts": [part._asdict() for part in self.parts],
            "total_bytes": self.total,
            "cuda_context_bytes": CONTEXT_BYTES,
            "smallest_card_gib": self.card_gib(),
        }
