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
from shepherd.records import StepRow
from verifier.batches import EncodedRow, EncodedRows, in_epochs
from verifier.config import OutcomeLabel

Labels = tuple[float | None, ...]
Rows = NDArray[np.int64]


def outcome_labels(row: StepRow, label: OutcomeLabel) -> Labels:
    """Labels with which only the last step is supervised, by whether the solution is right.

    A row whose last step has no label gets none: how it ended is not known.

    Args:
        row: a solution with step labels.
        label: ``last`` takes the last step's; ``all`` the smallest of all that are known.

    Example:
        >>> row = StepRow("q", ("a", "b", "c"), (1.0, 0.25, 1.0))
        >>> outcome_labels(row, "last"), outcome_labels(row, "all")
        ((None, None, 1.0), (None, None, 0.25))
        >>> outcome_labels(StepRow("q", ("a", "b"), (1.0, None)), "all")
        (None, None)
    """
    *before, last = row.labels
    if last is not None and label == "all":
        last = min([last, *(each for each in before if each is not None)])
    return (*(None for _ in before), last)


def is_right(row: EncodedRow) -> bool:
    """Is the solution right? Of a row with outcome labels."""
    return bool(row.labels[-1] >= THRESHOLD)


def in_pairs(rows: EncodedRows, which: str) -> EncodedRows:
    """Leave out the solutions of questions that have right ones only, or wrong ones only; they are counted.

    Args:
        rows: with outcome labels.
        which: what they are for, named where no question has both.
    """
    seen: dict[str, set[bool]] = {}
    for row in rows.rows:
        seen.setdefault(row.row.question, set()).add(is_right(row))
    kept = [row for row in rows.rows if len(seen[row.row.question]) == 2]
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
    found: dict[str, tuple[list[int], list[int]]] = {}
    for index in rng.permutation(len(rows.rows)).tolist():
        row = rows.rows[index]
        found.setdefault(row.row.question, ([], []))[0 if is_right(row) else 1].append(index)
    return list(found.values())


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
