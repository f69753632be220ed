"""Which sequences of a packed row are read in it, and which are read apart from it, in padded batches.

What sequences begin with in common is paid for once, by the first of them, so they cannot be judged one by
one. But in a prefix tree the choice below a token depends on nothing but whether that token is there, and so
the least work of every subtree follows from that of its branches: one walk over the row finds it, from the
leaves to the roots. A beginning that all share, a template or a first token, is a branch like all others, so
that nothing need be known of questions. No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class _Subtree:
    """The sequences from `first` to the one at hand, which have `depth` tokens in common.

    Attributes:
        packed: least work of what lies below those tokens, when they are there.
        apart: work of reading all its sequences elsewhere.
    """

    first: int
    depth: int
    packed: float
    apart: float


def read_apart(
    lengths: Sequence[int], shared: Sequence[int], token: float, apart: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which sequences to leave out of a row, so that all of them are the least work together.

    Args:
        lengths: tokens of each sequence, sorted as in a row.
        shared: tokens that each begins with as the one before it does; 0 for the first.
        token: work of a token of the row.
        apart: work of reading each sequence elsewhere.

    Returns:
        Shape ``(sequences,)``; a tie is left in the row.

    Example:
        >>> read_apart([9, 9, 9], shared=[0, 8, 1], token=1.0, apart=[8.0, 8.0, 7.0]).tolist()
        [False, False, True]
    """
    found = np.zeros(len(lengths), dtype=np.bool_)
    path: list[_Subtree] = []  # from a root to the sequence at hand, ever deeper
    for at, length in enumerate(lengths):
        path.append(_Subtree(at, length, 0.0, apart[at]))
        common = shared[at + 1] if at + 1 < len(lengths) else 0
        while path and path[-1].depth > common:
            done = path.pop()
            depth = max(common, path[-1].depth if path else 0)
            here = (done.depth - depth) * token + done.packed
            if done.apart < here:
                here = done.apart
                found[done.first : at + 1] = True
            if path and path[-1].depth == depth:
                path[-1].packed += here
                path[-1].apart += done.apart
            elif depth:
                path.append(_Subtree(done.first, depth, here, done.apart))
    return found
