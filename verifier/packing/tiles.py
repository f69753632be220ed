"""Tiles: which keys some neighbouring tokens of a packed row look at, and no others.

A dense mask over a row costs attention between all its tokens, though a token's path is short. In preorder
the tokens that a run of neighbours sees are the path to its first token and the run itself, so a row is cut
into runs of equal length, each with its own short list of keys. All tiles are one batched attention call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from verifier.packing.tree import Ints, Row

ALIGNED = 8
"""The most keys of a tile are a multiple of this: CUDA's efficient attention copies a mask whose rows do not
begin at such multiples, in every layer."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """The attention of a row, cut into runs.

    Attributes:
        size: tokens in a run; the last one may lack some.
        keys: indices into the row, shape ``(tiles, most keys)``, the latter a multiple of `ALIGNED`; what is
            beyond a tile's own keys is 0, and nobody looks at it.
        sees: which token of a tile looks at which of its keys, shape ``(tiles, size, most keys)``. A token
            that is not there looks at the first key, so that its softmax is defined.
    """

    size: int
    keys: Ints = field(repr=False)
    sees: NDArray[np.bool_] = field(repr=False)


def count_pairs(row: Row, size: int) -> int:
    """Queries times keys that the tiles of a row hold against each other, those that nobody sees included.

    A tile's keys are the path to its first token, as long as that token's position, and the tile itself.

    Example:
        >>> from verifier.packing.tree import lay_out
        >>> row, = lay_out([np.array([5, 6, 8]), np.array([5, 7])], budget=9)
        >>> count_pairs(row, size=3), cut_tiles(row, size=3).sees.size
        (48, 48)
    """
    starts = np.arange(0, len(row), size)
    most = int((row.positions[starts] + np.minimum(size, len(row) - starts)).max())
    return len(starts) * size * _aligned(most)


def cut_tiles(row: Row, size: int) -> Tiles:
    """Cut a row into tiles.

    Args:
        row: at least one token.
        size: tokens in a tile.

    Example:
        >>> from verifier.packing.tree import lay_out
        >>> row, = lay_out([np.array([5, 6, 8]), np.array([5, 7])], budget=9)
        >>> tiles = cut_tiles(row, size=3)
        >>> tiles.keys.tolist()
        [[0, 1, 2, 0, 0, 0, 0, 0], [0, 3, 0, 0, 0, 0, 0, 0]]
        >>> tiles.sees[1, :, :2].astype(int).tolist()
        [[1, 1], [1, 0], [1, 0]]
    """
    length = len(row)
    starts = range(0, length, size)
    lists = []
    for start in starts:
        path = np.flatnonzero(row.ends[:start] > start)
        lists.append(np.concatenate([path, np.arange(start, min(start + size, length))]))
    most = _aligned(max(map(len, lists)))
    keys = np.zeros((len(lists), most), dtype=np.int64)
    sees = np.zeros((len(lists), size, most), dtype=np.bool_)
    for tile, (start, mine) in enumerate(zip(starts, lists, strict=True)):
        at = np.arange(start, min(start + size, length))[:, None]
        keys[tile, : len(mine)] = mine
        sees[tile, : len(at), : len(mine)] = (mine <= at) & (at < row.ends[mine])
    sees[-1, length - starts[-1] :, 0] = True
    return Tiles(size, keys, sees)


def _aligned(keys: int) -> int:
    return -(-keys // ALIGNED) * ALIGNED
