"""What an outcome head learns from: one label a solution, and for pairs, batches that hold whole questions.

Labels come from step labels: nobody labels twice. For pairs, all solutions of a question that fit stand in
one batch, so that each is read once for all its pairs (as in arXiv 2203.02155, section 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eval.steps import THRESHOLD
from shepherd.errors import ShepherdError
from verifier.batches import EncodedRow, EncodedRows, in_epochs
from verifier.config import OutcomeLabel

Rows = NDArray[np.int64]


def outcome_labels(
    labels: NDArray[np.float64], step_ends: NDArray[np.int64], label: OutcomeLabel
) -> NDArray[np.float64]:
    """Labels with which only the last step is supervised, by whether the solution is right.

    A row whose last step has no label gets none: how it ended is not known.

    Args:
        labels: of all steps of all rows, NaN where unknown; shape ``(steps,)``.
        step_ends: where each row's steps end, after a leading 0; every row has a step; shape ``(rows + 1,)``.
        label: ``last`` takes the last step's; ``all`` the smallest of all that are known.

    Example:
        >>> labels, ends = np.array([1.0, 0.25, 1.0, 1.0, np.nan]), np.array([0, 3, 5])
        >>> outcome_labels(labels, ends, "last").tolist()
        [nan, nan, 1.0, nan, nan]
        >>> outcome_labels(labels, ends, "all").tolist()
        [nan, nan, 0.25, nan, nan]
    """
    found = np.full_like(labels, np.nan)
    last = step_ends[1:] - 1
    found[last] = labels[last]
    if label == "all" and len(last):
        smallest = np.fmin.reduceat(labels, step_ends[:-1])
        found[last] = np.where(np.isnan(labels[last]), np.nan, smallest)
    return found


def is_right(row: EncodedRow) -> bool:
    """Is the solution right? Of a row with outcome labels."""
    return bool(row.labels[-1] >= THRESHOLD)


def in_pairs(rows: EncodedRows, which: str) -> EncodedRows:
    """Leave out the solutions of questions that have right ones only, or wrong ones only; they are counted.

    Args:
        rows: with outcome labels.
        which: what they are for, named where no question has both.
    """
    question, right = rows.questions, _are_right(rows)
    both = np.bincount(question, right).astype(bool) & np.bincount(question, ~right).astype(bool)
    kept = rows.flat.take(both[question])
    if rows.rows and not kept:
        raise ShepherdError(
            "outcome.loss: pairwise needs questions with a right and a wrong solution; no question of the "
            f"{which} rows has both; use --set outcome.loss=pointwise"
        )
    return replace(rows, rows=kept, rows_one_class=len(rows.rows) - len(kept))


def plan_in_pairs(
    rows: EncodedRows, *, epochs: float, batch_tokens: int, batch_solutions: int | None, seed: int
) -> list[Rows]:
    """Row indices of every batch of the run: right and wrong solutions of each question that is in it.

    A question too large for a batch is dealt out to several; where its right or its wrong solutions do not go
    round, they come again. Two solutions stay together even if they are too long for a batch.

    Args:
        rows: as `in_pairs` leaves them.
        epochs: as all the rest, of `verifier.batches.make_plan`.
        batch_tokens: most padded tokens in a batch.
        batch_solutions: most solutions in a batch, if any.
        seed: of every order.
    """
    lengths = rows.lengths
    limit = len(rows.rows) if batch_solutions is None else batch_solutions

    def fits(part: Sequence[int]) -> bool:
        return len(part) <= limit and int(lengths[list(part)].max()) * len(part) <= batch_tokens

    def one_epoch(rng: np.random.Generator) -> list[Rows]:
        parts = [part for each in _questions(rows, rng) for part in _deal(each, fits)]
        parts.sort(
            key=lambda part: int(lengths[part].max())
        )  # little padding; questions were in random order
        batches: list[list[int]] = []
        for part in parts:
            if batches and fits([*batches[-1], *part]):
                batches[-1] += part
            else:
                batches.append(list(part))
        return [np.array(batches[i], dtype=np.int64) for i in rng.permutation(len(batches))]

    return in_epochs(one_epoch, epochs, seed)


def _questions(rows: EncodedRows, rng: np.random.Generator) -> list[tuple[list[int], list[int]]]:
    """Right and wrong solutions of each question, all in random order."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    question, right = rows.questions.tolist(), _are_right(rows).tolist()
    for index in rng.permutation(len(question)).tolist():
        found.setdefault(question[index], ([], []))[0 if right[index] else 1].append(index)
    return list(found.values())


def _are_right(rows: EncodedRows) -> NDArray[np.bool_]:
    """Of each row with outcome labels, is the solution right?"""
    found: NDArray[np.bool_] = rows.flat.last_labels >= THRESHOLD
    return found


def _deal(question: tuple[list[int], list[int]], fits: Callable[[Sequence[int]], bool]) -> list[list[int]]:
    """Cut a question into the fewest parts that fit, each with right and wrong solutions.

    Example:
        >>> _deal(([1], [2, 3, 4]), lambda part: len(part) <= 3)
        [[1, 2, 4], [1, 3]]
    """
    count, most = 1, max(map(len, question))
    while True:
        parts = [
            [index for side in question for index in (side[number::count] or [side[number % len(side)]])]
            for number in range(count)
        ]
        if count == most or all(map(fits, parts)):
            return parts
        count += 1
