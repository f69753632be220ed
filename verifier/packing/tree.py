"""Prefix trees: token sequences laid out so that every distinct prefix stands once.

Sequences are sorted, and each one adds only the tokens that the one before it has not; since neighbours in
sorted order share the longest prefixes, no prefix is laid out twice. What comes of it is a trie in preorder:
the tokens below a token directly follow it, so one number, where its subtree ends, says who sees whom:

    token i sees token j   if and only if   j <= i < ends[j]

That is causal attention along each token's own path. Roots are tokens like all others, so solutions of many
questions make one row. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """Some sequences as one row of tokens.

    Attributes:
        ids: the tokens, shape ``(n,)``.
        positions: how many tokens stand before each on its own path, shape ``(n,)``.
        ends: where the subtree of each ends, shape ``(n,)``.
        members: indices of the sequences, in sorted order.
        places: for each member where its tokens lie in the row, shape ``(its length,)``.
    """

    ids: Ints = field(repr=False)
    positions: Ints = field(repr=False)
    ends: Ints = field(repr=False)
    members: Sequence[int]
    places: Sequence[Ints] = field(repr=False)

    def __len__(self) -> int:
        """Tokens in the row."""
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each member."""
        return [len(place) for place in self.places]

    @property
    def shared(self) -> list[int]:
        """How many tokens each member begins with as the one before it does; 0 for the first.

        Example:
            >>> row, = lay_out([np.array([5, 6]), np.array([5, 7])], budget=9)
            >>> row.shared
            [0, 1]
        """
        found, filled = [], 0
        for place in self.places:
            found.append(int(np.searchsorted(place, filled)))
            filled = max(filled, int(place[-1]) + 1)
        return found

    def sees(self) -> NDArray[np.bool_]:
        """Which token sees which, shape ``(n, n)``: for small rows, and to test others against.

        Example:
            >>> row, = lay_out([np.array([5, 6]), np.array([5, 7])], budget=9)
            >>> row.ids.tolist(), row.positions.tolist(), row.ends.tolist()
            ([5, 6, 7], [0, 1, 1], [3, 2, 3])
            >>> row.sees().astype(int).tolist()
            [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
        """
        at = np.arange(len(self))
        return (at <= at[:, None]) & (at[:, None] < self.ends)


def shared_with_last(sequences: Sequence[NDArray[np.integer]]) -> tuple[list[int], list[int]]:
    """Sort sequences, and count the tokens that each begins with as the one before it does.

    Args:
        sequences: token ids, each at least 0 and below 2^32.

    Returns:
        Indices in sorted order, and for each how many first tokens it has in common with the one before; 0
        for the first.

    Example:
        >>> shared_with_last([np.array([5, 7]), np.array([5, 6]), np.array([5])])
        ([2, 1, 0], [0, 1, 1])
    """
    keys = [np.asarray(ids).astype(">u4").tobytes() for ids in sequences]  # bytes that sort as their numbers
    order = sorted(range(len(keys)), key=keys.__getitem__)
    shared = [0] * len(order)
    for at in range(1, len(order)):
        shared[at] = _common(sequences[order[at - 1]], sequences[order[at]])
    return order, shared


def count_unique(sequences: Sequence[NDArray[np.integer]]) -> int:
    """Distinct prefixes of all sequences together: what a scorer has to read at least.

    Example:
        >>> count_unique([np.array([5, 6]), np.array([5, 7]), np.array([5])])
        3
    """
    order, shared = shared_with_last(sequences)
    return sum(len(sequences[index]) - common for index, common in zip(order, shared, strict=True))


def lay_out(sequences: Sequence[NDArray[np.integer]], budget: int) -> list[Row]:
    """Rows of at most ``budget`` tokens that hold every sequence once.

    A row is filled in sorted order. Where it is full it is cut in its second half, before the sequence that
    has least in common with the one before it: that much is read again in the next row. A sequence that is
    longer than the budget has a row of its own.

    Args:
        sequences: token ids; empty ones are in no row.
        budget: most tokens in a row.
    """
    order, shared = shared_with_last(sequences)
    lengths = [len(sequences[index]) for index in order]
    rows, start = [], 0
    while start < len(order) and not lengths[start]:
        start += 1
    while start < len(order):
        end, filled, cut, least = start + 1, lengths[start], start + 1, budget
        while end < len(order) and filled + lengths[end] - shared[end] <= budget:
            if 2 * filled >= budget and shared[end] <= least:
                cut, least = end, shared[end]
            filled += lengths[end] - shared[end]
            end += 1
        if end == len(order) or shared[end] <= least:
            cut = end
        rows.append(_row(sequences, order[start:cut], [0, *shared[start + 1 : cut]]))
        start = cut
    return rows


def _row(sequences: Sequence[NDArray[np.integer]], members: list[int], common: list[int]) -> Row:
    """A row of sorted sequences, each with the number of first tokens that the one before has too."""
    size = sum(len(sequences[index]) - shared for index, shared in zip(members, common, strict=True))
    ids, positions, ends = (np.empty(size, dtype=np.int64) for _ in range(3))
    places: list[Ints] = []
    path, filled = np.empty(0, dtype=np.int64), 0
    for index, shared in zip(members, common, strict=True):
        mine = np.asarray(sequences[index])
        ends[path[shared:]] = filled  # what the new tokens do not continue is over
        new = len(mine) - shared
        path = np.concatenate([path[:shared], np.arange(filled, filled + new)])
        ids[filled : filled + new] = mine[shared:]
        positions[filled : filled + new] = np.arange(shared, len(mine))
        places.append(path)
        filled += new
    ends[path] = filled
    return Row(ids, positions, ends, tuple(members), tuple(places))


def _common(one: NDArray[np.integer], other: NDArray[np.integer]) -> int:
    """How many first tokens two sequences have in common."""
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length
