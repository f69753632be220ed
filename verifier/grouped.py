"""The plan that keeps the rows of a question together, so that a packed pass reads the question once for all.

What a batch may have is counted as a packed pass reads it: every distinct prefix once. Solutions of a
question look alike, so a step of a few questions tells less than one of as many solutions of different
questions; how much that costs, and what the saved reading is worth, depends on the data. For the embedded
world `benchmarks/grouping.py` measures both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shepherd.errors import ShepherdError
from verifier.batches import in_epochs
from verifier.packing.tree import shared_with_last

Rows = NDArray[np.int64]


def plan_by_question(
    sequences: Sequence[NDArray[np.integer]],
    questions: Rows,
    *,
    epochs: float,
    batch_tokens: int,
    batch_solutions: int | None,
    seed: int,
    question_solutions: int | None = None,
) -> list[Rows]:
    """Row indices of every batch of the run: questions in random order, the rows of each side by side.

    A question that does not fit any more is cut, and goes on in the next batch. One that has more than
    `question_solutions` rows is as many questions as it takes, each with its own place in the order.

    Args:
        sequences: token ids of each row.
        questions: number of each row's question, shape ``(rows,)``.
        epochs: a fraction of an epoch is a fraction of its batches.
        batch_tokens: most tokens in a batch, what solutions of a question begin with in common counted once.
        batch_solutions: most rows in a batch, if any.
        seed: of the order.
        question_solutions: most rows of a question side by side, if any.

    Raises:
        ShepherdError: where there is no row.

    Example:
        >>> rows = [np.array([1, 2, 3]), np.array([7, 8]), np.array([1, 2, 4])]
        >>> [batch.tolist() for batch in plan_by_question(rows, np.array([0, 1, 0]), epochs=1, batch_tokens=4,
        ...     batch_solutions=None, seed=0)]
        [[0, 2], [1]]
    """
    if not len(questions):
        raise ShepherdError("no training rows are left; see the counts above for why rows were left out")
    by_question = np.argsort(questions, kind="stable")
    groups = np.split(by_question, np.flatnonzero(np.diff(questions[by_question])) + 1)
    if question_solutions is not None:
        groups = [
            group[at : at + question_solutions]
            for group in groups
            for at in range(0, len(group), question_solutions)
        ]
    # Sorted by their tokens, neighbours share most: so they do on both sides of a cut.
    laid_out = [_sorted(sequences, group) for group in groups]

    def one_epoch(rng: np.random.Generator) -> list[Rows]:
        batches: list[list[int]] = []
        tokens = 0
        for group in rng.permutation(len(laid_out)).tolist():
            begun = False
            for row, shared in laid_out[group]:
                whole = len(sequences[row])
                more = whole - shared if begun else whole
                is_full = batch_solutions is not None and batches and len(batches[-1]) >= batch_solutions
                if not batches or is_full or tokens + more > batch_tokens:
                    batches.append([])
                    tokens, more = 0, whole
                batches[-1].append(row)
                tokens, begun = tokens + more, True
        return [np.array(batch, dtype=np.int64) for batch in batches]

    return in_epochs(one_epoch, epochs, seed)


def _sorted(sequences: Sequence[NDArray[np.integer]], rows: Rows) -> list[tuple[int, int]]:
    """Rows of a question in the order of their tokens, each with what it shares with the one before."""
    order, shared = shared_with_last([sequences[row] for row in rows])
    return list(zip(rows[order].tolist(), shared, strict=True))
