"""Rows that step scores are judged on, with their scores; split by problem, and as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval.first_error import THRESHOLD, FirstErrors, first_errors
from eval.reliability import ScoredSteps
from shepherd.records import StepRow


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A row with step labels, and whether its final answer is right (None: unknown)."""

    row: StepRow
    right: bool | None = None


class Scored(NamedTuple):
    """Rows with a list of step scores each."""

    rows: Sequence[JudgedRow]
    scores: Sequence[Sequence[float]]


class Halves(NamedTuple):
    """Indices of the rows to fit on and of those to report on."""

    fit: list[int]
    report: list[int]


def split_by_problem(rows: Sequence[JudgedRow], fraction: float, seed: int) -> Halves:
    """Draw a share of the problems to fit on; all rows of a problem go to the same side.

    Args:
        rows: rows with one question text are of one problem.
        fraction: share of the problems, in [0, 1); at least one where it is above 0 and there are two.
        seed: of the draw, which depends on the set of questions and not on their order.

    Example:
        >>> rows = [JudgedRow(StepRow(q, ("s",), (1.0,))) for q in "aabbcc"]
        >>> halves = split_by_problem(rows, 0.34, 0)
        >>> len(halves.fit), len(halves.report)
        (2, 4)
    """
    questions = sorted({_question(row) for row in rows})
    count = round(fraction * len(questions))
    if fraction > 0 and len(questions) > 1:
        count = min(max(1, count), len(questions) - 1)
    order = np.random.default_rng([seed, 0xF17]).permutation(len(questions))
    chosen = {questions[each] for each in order[:count]}
    fit_rows = [at for at, row in enumerate(rows) if _question(row) in chosen]
    return Halves(fit_rows, [at for at, row in enumerate(rows) if _question(row) not in chosen])


def _question(row: JudgedRow) -> str:
    return row.row.question.strip()


def _problems(scored: Scored) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(_question(row), len(numbers)) for row in scored.rows]


def first_errors_of(scored: Scored) -> FirstErrors:
    """The rows whose first error is known."""
    return first_errors([each.row.labels for each in scored.rows], scored.scores, _problems(scored))


def steps_of(scored: Scored) -> ScoredSteps:
    """The labelled steps."""
    problems = _problems(scored)
    found = [
        (value, label >= THRESHOLD, at, problem)
        for row, mine, problem in zip(scored.rows, scored.scores, problems, strict=True)
        for at, (label, value) in enumerate(zip(row.row.labels, mine, strict=True))
        if label is not None
    ]
    score, good, index, problem = zip(*found, strict=True) if found else ((), (), (), ())
    return ScoredSteps(
        score=np.array(score, dtype=np.float64),
        good=np.array(good, dtype=bool),
        index=np.array(index, dtype=np.int64),
        problem=np.array(problem, dtype=np.int64),
        problems=max(problems, default=-1) + 1,
    )
