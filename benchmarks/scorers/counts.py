"""What scoring a pool costs, counted: tokens read by each method, and operations at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verifier.packing.passes import Work
from verifier.packing.tree import lay_out
from verifier.tags import EncodedSolution


class Counts(NamedTuple):
    """Tokens of a pool.

    Attributes:
        solutions: candidates with a step.
        tags: steps.
        unique: distinct prefixes: what has to be read at least.
        own: every solution whole, nothing shared and no padding.
        arrival: padded in the order in which they come, a problem's candidates a batch.
        a_step: one forward pass a step, no padding.
        pairs: of a token and one on its own path, over the unique tokens.
    """

    solutions: int
    tags: int
    unique: int
    own: int
    arrival: int
    a_step: int
    pairs: int

    def floor(self, work: Work) -> float:
        """Operations that no exact scorer can do without."""
        return self.unique * work.token + self.pairs * work.pair


def count(solutions: Sequence[EncodedSolution], batch: int) -> Counts:
    """Count a pool.

    Args:
        solutions: as tokens, in the order in which they come.
        batch: candidates in a batch of `arrival`.
    """
    lengths = [len(each.ids) for each in solutions]
    rows = lay_out([each.ids for each in solutions], budget=1 << 62)
    return Counts(
        solutions=len(solutions),
        tags=sum(len(each.tags) for each in solutions),
        unique=sum(map(len, rows)),
        own=sum(lengths),
        arrival=padded(solutions, batch),
        a_step=sum(int(np.sum(each.tags + 1)) for each in solutions),
        pairs=sum(int(np.sum(row.positions + 1)) for row in rows),
    )


def padded(solutions: Sequence[EncodedSolution], batch: int) -> int:
    """Tokens of solutions in batches as they come, padded to the longest of each."""
    lengths = [len(each.ids) for each in solutions]
    parts = (lengths[at : at + batch] for at in range(0, len(lengths), batch))
    return sum(max(part) * len(part) for part in parts)
