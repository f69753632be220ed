"""Which forward passes read some solutions: packed rows where that is less work, padded batches elsewhere.

The work is counted, in multiply-adds of the trunk and of attention, never guessed by a flag. A packed row
reads each distinct prefix once and has no padding, but its attention runs over tiles; solutions of one length
that share nothing are read as fast in a plain batch. Both stand side by side where solutions differ in that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from verifier.batches import fixed_batches
from verifier.packing.choice import read_apart
from verifier.packing.tiles import Tiles, count_pairs, cut_tiles
from verifier.packing.tree import Row, lay_out

TILE = 64
"""Tokens in a tile; `scoring.py --sweep` in benchmarks/ has others."""

PASS_TOKENS = TILE
"""What a pass costs beside its tokens, in tokens: all weights are read, or unpacked, whatever it has."""

TILE_PAIR = 2.0
"""What a pair in a tile costs, in pairs of a padded batch: a tile gathers its keys and has a mask, and in
training its attention is computed a second time."""


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
    sequences: Sequence[NDArray[np.integer]],
    budget: int,
    work: Work,
    *,
    longest: float = inf,
    packs: bool = True,
) -> list[Pass]:
    """Passes of at most ``budget`` tokens that read every sequence once, each in the way that is less work.

    Args:
        sequences: token ids; empty ones are in no pass.
        budget: most tokens in a pass, padding included; a longer sequence has a pass of its own.
        work: what tokens and pairs of them cost.
        longest: most tokens of a sequence that the model can read in a packed row; a longer one is in no
            batch with shorter ones either, since it may turn their rotations (`verifier.model`).
        packs: may there be packed rows?

    Example:
        >>> alike = [np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])]
        >>> [type(each).__name__ for each in plan_passes(alike, 64, Work(10.0, 0.01))]
        ['Packed']
        >>> apart = [np.array([1, 2]), np.array([3, 4])]
        >>> [type(each).__name__ for each in plan_passes(apart, 64, Work(10.0, 0.01))]
        ['Padded']
    """
    lengths = np.array([len(each) for each in sequences], dtype=np.int64)
    too_long = lengths > longest
    padded = _batches(lengths, too_long, budget)
    if not packs or too_long[lengths > 0].all():
        return padded
    packed = _in_rows(sequences, lengths, too_long, too_long, budget)
    apart = too_long | _apart(packed, padded, work, len(lengths))
    plans = [padded, packed, _in_rows(sequences, lengths, apart, too_long, budget)]
    return min(plans, key=lambda plan: sum(price(each, work) + PASS_TOKENS * work.token for each in plan))


def price(each: Pass, work: Work) -> float:
    """What passes are chosen by: their operations, those in tiles at what they cost."""
    tiles = each.work(work) - each.tokens * work.token if isinstance(each, Packed) else 0.0
    return each.work(work) + (TILE_PAIR - 1) * tiles


def _in_rows(
    sequences: Sequence[NDArray[np.integer]],
    lengths: NDArray[np.int64],
    apart: NDArray[np.bool_],
    too_long: NDArray[np.bool_],
    budget: int,
) -> list[Pass]:
    """Packed rows of all sequences but those apart, which are in batches."""
    rows = lay_out([ids[:0] if other else ids for ids, other in zip(sequences, apart, strict=True)], budget)
    return [*map(Packed, rows), *_batches(np.where(apart, lengths, 0), too_long, budget)]


def _batches(lengths: NDArray[np.int64], too_long: NDArray[np.bool_], budget: int) -> list[Pass]:
    """Padded batches of one kind each: what is too long for a row, and what is not."""
    return [
        Padded(tuple(batch.tolist()), int(kind[batch].max()))
        for kind in (np.where(too_long, 0, lengths), np.where(too_long, lengths, 0))
        for batch in fixed_batches(kind, budget)
        if kind[batch].max() > 0
    ]


def _apart(packed: Sequence[Pass], padded: Sequence[Pass], work: Work, count: int) -> NDArray[np.bool_]:
    """Which sequences are less work in their batches than in their rows, at what a token costs in each."""
    alone = np.zeros(count)
    for each in padded:
        alone[list(each.members)] = price(each, work) / len(each.members)
    found = np.zeros(count, dtype=np.bool_)
    for each in packed:
        if isinstance(each, Packed):
            row, members = each.row, list(each.members)
            token = price(each, work) / len(row)
            found[members] = read_apart(row.lengths, row.shared, token, alone[members])
    return found
