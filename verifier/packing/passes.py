"""Which forward passes read some solutions: packed rows where that is less work, padded batches elsewhere.

The work is counted, in multiply-adds of the trunk and of attention, never guessed by a flag. A packed row
reads each distinct prefix once and has no padding, but its attention runs over tiles; solutions of one length
that share nothing are read as fast in a plain batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from verifier.batches import fixed_batches
from verifier.packing.tiles import Tiles, count_pairs, cut_tiles
from verifier.packing.tree import Row, lay_out

TILE = 64
"""Tokens in a tile; `scoring.py --sweep` in benchmarks/ has others."""


class Work(NamedTuple):
    """What a forward pass costs, in floating-point operations.

    Attributes:
        token: of a token in the trunk's matrices: twice their weights.
        pair: of a query and a key it is held against, over all layers and heads.
    """

    token: float
    pair: float


@dataclass(frozen=True, slots=True)
class Packed:
    """A row of prefix trees, whose attention is cut into tiles of ``size`` tokens."""

    row: Row
    size: int = TILE

    @property
    def tiles(self) -> Tiles:
        """The tiles: made when they are needed, since those of many rows take memory."""
        return cut_tiles(self.row, self.size)

    @property
    def members(self) -> Sequence[int]:
        """Indices of the solutions in it."""
        return self.row.members

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return len(self.row)

    def work(self, each: Work) -> float:
        """Operations of the pass."""
        return len(self.row) * each.token + count_pairs(self.row, self.size) * each.pair


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch of solutions, padded on the right to ``length`` tokens."""

    members: Sequence[int]
    length: int

    @property
    def tokens(self) -> int:
        """Tokens that are read, padding among them."""
        return len(self.members) * self.length

    def work(self, each: Work) -> float:
        """Operations of the pass: causal attention skips what lies above the diagonal."""
        return self.tokens * (each.token + (self.length + 1) / 2 * each.pair)


Pass = Packed | Padded


def plan_passes(
    sequences: Sequence[NDArray[np.integer]], budget: int, work: Work, *, may_pack: bool = True
) -> list[Pass]:
    """Passes of at most ``budget`` tokens that read every sequence once, in the way that is less work.

    Args:
        sequences: token ids; empty ones are in no pass.
        budget: most tokens in a pass, padding included; a longer sequence has a pass of its own.
        work: what tokens and pairs of them cost.
        may_pack: the model can read packed rows.

    Example:
        >>> alike = [np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])]
        >>> [type(each).__name__ for each in plan_passes(alike, 64, Work(10.0, 0.01))]
        ['Packed']
        >>> apart = [np.array([1, 2]), np.array([3, 4])]
        >>> [type(each).__name__ for each in plan_passes(apart, 64, Work(10.0, 0.01))]
        ['Padded']
    """
    lengths = np.array([len(each) for each in sequences], dtype=np.int64)
    padded: list[Pass] = [
        Padded(tuple(batch.tolist()), int(lengths[batch].max()))
        for batch in fixed_batches(lengths, budget)
        if lengths[batch].max() > 0
    ]
    if not may_pack or not padded:
        return padded
    packed: list[Pass] = [Packed(row) for row in lay_out(sequences, budget)]
    return min(padded, packed, key=lambda passes: sum(each.work(work) for each in passes))
