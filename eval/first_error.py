"""Which step is the first wrong one? ProcessBench's own figures (arXiv 2412.06559), and their threshold.

A verifier names the first step that scores below a threshold; a row whose steps all reach it is called clean.
``acc_error`` is the share of rows with an error whose first one is named exactly, ``acc_clean`` the share of
clean rows called clean, and ``f1`` their harmonic mean: calling every row clean, or every first step wrong,
is worth nothing.

A row is right at every threshold of one interval, ``(lowest, highest]``: above the score of its first error
and not above any score before it. So the whole sweep is two sorted lists and a cumulative sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.scores import FloatArray

THRESHOLD = 0.5
"""A step is taken as right from this score on, and a soft label as good from this value on."""


def first_bad(labels: Sequence[float | None]) -> int | None:
    """Index of the first wrong step; the number of steps in a clean row; None where it is not known.

    It is known if no null stands before it, or anywhere in a row without a wrong step: what follows a first
    error may be unlabelled (ProcessBench labels no more than that one).

    Example:
        >>> first_bad([1.0, 0.0, None]), first_bad([1.0, 1.0]), first_bad([1.0, None, 0.0]), first_bad([])
        (1, 2, None, None)
    """
    bad = next((at for at, label in enumerate(labels) if label is not None and label < THRESHOLD), None)
    if not labels or None in labels[:bad]:
        return None
    return len(labels) if bad is None else bad


def first_below(scores: Sequence[float], threshold: float) -> int:
    """Index of the first step that scores below the threshold; the number of steps if none does.

    Example:
        >>> first_below([0.9, 0.4, 0.1], 0.5), first_below([0.9, 0.5], 0.5)
        (1, 2)
    """
    return next((at for at, score in enumerate(scores) if score < threshold), len(scores))


class Accuracy(NamedTuple):
    """The three figures, each in [0, 1]; None where there are no rows of a kind."""

    f1: float | None
    acc_error: float | None
    acc_clean: float | None


class SweepPoint(NamedTuple):
    """The figures at one threshold."""

    threshold: float
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """Rows whose first error is known, as columns.

    Attributes:
        lowest: the row is right at thresholds above this: the score of its first error; -inf in a clean row.
        highest: and not above this: the lowest score before the first error, +inf if that is the first step.
        erroneous: whether the row has an error.
        bad: index of the first error; the row's length in a clean row.
        length: steps of the row.
        problem: number of the row's problem.
    """

    lowest: FloatArray
    highest: FloatArray
    erroneous: BoolArray
    bad: IntArray
    length: IntArray
    problem: IntArray

    def right_at(self, threshold: float) -> BoolArray:
        """Which rows are right at a threshold."""
        found: BoolArray = (self.lowest < threshold) & (threshold <= self.highest)
        return found


def first_errors(
    labels: Sequence[Sequence[float | None]], scores: Sequence[Sequence[float]], problems: Sequence[int]
) -> FirstErrors:
    """Read the rows; those whose first error is not known are left out.

    Args:
        labels: in [0, 1] or None, one a step.
        scores: P(step is correct) in [0, 1], one a step.
        problems: number of each row's problem.

    Example:
        >>> rows = first_errors([[1, 0, None], [1, 1]], [[0.9, 0.3, 0.8], [0.7, 0.6]], [0, 1])
        >>> rows.lowest.tolist(), rows.highest.tolist(), rows.right_at(0.5).tolist()
        ([0.3, -inf], [0.9, 0.6], [True, True])
    """
    found = [
        (
            -math.inf if bad == len(mine) else each[bad],
            min(each[:bad], default=math.inf),
            bad < len(mine),
            bad,
            len(mine),
            problem,
        )
        for mine, each, problem in zip(labels, scores, problems, strict=True)
        if (bad := first_bad(mine)) is not None
    ]
    columns = list(zip(*found, strict=True)) if found else [()] * 6
    return FirstErrors(
        lowest=np.array(columns[0], dtype=np.float64),
        highest=np.array(columns[1], dtype=np.float64),
        erroneous=np.array(columns[2], dtype=bool),
        bad=np.array(columns[3], dtype=np.int64),
        length=np.array(columns[4], dtype=np.int64),
        problem=np.array(columns[5], dtype=np.int64),
    )


def accuracy(right: BoolArray, erroneous: BoolArray) -> Accuracy:
    """ProcessBench's figures of rows that were named rightly or not.

    Args:
        right: whether the first error (or that there is none) was named; shape ``(rows,)``.
        erroneous: whether the row has an error; shape ``(rows,)``.

    Example:
        >>> accuracy(np.array([True, False, True]), np.array([True, True, False]))
        Accuracy(f1=0.6666666666666666, acc_error=0.5, acc_clean=1.0)
    """
    error, clean = right[erroneous], right[~erroneous]
    acc_error = float(error.mean()) if len(error) else None
    acc_clean = float(clean.mean()) if len(clean) else None
    if acc_error is None or acc_clean is None:
        return Accuracy(None, acc_error, acc_clean)
    return Accuracy(float(harmonic(np.array(acc_error), np.array(acc_clean))), acc_error, acc_clean)


def harmonic(one: FloatArray, other: FloatArray) -> FloatArray:
    """Harmonic mean, 0 where both are 0; NaN stays NaN."""
    total = one + other
    found: FloatArray = np.divide(2 * one * other, total, out=np.zeros_like(total), where=total != 0)
    return found


def sweep(rows: FirstErrors) -> list[SweepPoint]:
    """The figures at every threshold that tells rows apart, ascending: between two points nothing changes.

    A point stands half-way between two neighbouring scores; the first is 0 (no step is below it), the last is
    above every score, and no more than 1 unless a score is 1.
    """
    marks = _marks(rows)
    places = _places(rows, marks)
    error, clean = (_right_at_marks(places, marks, kind.astype(np.float64)) for kind in _kinds(rows))
    errors, cleans = int(rows.erroneous.sum()), int((~rows.erroneous).sum())
    points = []
    for mark, caught, passed in zip(_thresholds(marks), error, clean, strict=True):
        acc_error, acc_clean = (
            float(got / of) if of else None for got, of in ((caught, errors), (passed, cleans))
        )
        f1 = None
        if acc_error is not None and acc_clean is not None:
            f1 = float(harmonic(np.array(acc_error), np.array(acc_clean)))
        points.append(SweepPoint(float(mark), Accuracy(f1, acc_error, acc_clean)))
    return points


def fit_threshold(rows: FirstErrors) -> float | None:
    """The threshold with the highest F1; of equal ones the one nearest to 0.5.

    None without both kinds of row.

    Example:
        >>> fit_threshold(first_errors([[1, 0], [1, 1]], [[0.9, 0.5], [0.8, 0.6]], [0, 1]))
        0.55
    """
    if not (rows.erroneous.any() and (~rows.erroneous).any()):
        return None
    marks = _marks(rows)
    fitted = _fit(rows, marks, np.ones((1, int(rows.problem.max()) + 1)))
    return float(fitted[0])


def resampled_thresholds(rows: FirstErrors, weights: FloatArray) -> FloatArray:
    """The fitted threshold of each resample; NaN where it has no rows of a kind.

    Args:
        rows: the rows that the threshold is fitted on.
        weights: how often each problem was drawn; shape ``(resamples, problems)``.
    """
    return _fit(rows, _marks(rows), weights)


def resampled_accuracy(
    right: BoolArray, rows: FirstErrors, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """F1, acc_error and acc_clean of each resample; NaN where it has no rows of a kind.

    Args:
        right: which rows are named rightly; shape ``(rows,)``.
        rows: the rows.
        weights: how often each problem was drawn; shape ``(resamples, problems)``.
    """
    problems = weights.shape[1]
    shares = []
    for kind in _kinds(rows):
        caught = np.bincount(rows.problem, weights=right & kind, minlength=problems)
        there = np.bincount(rows.problem, weights=kind, minlength=problems)
        got, of = weights @ caught, weights @ there
        shares.append(np.divide(got, of, out=np.full(len(weights), np.nan), where=of > 0))
    return harmonic(*shares), shares[0], shares[1]


def position_guess(rows: FirstErrors) -> int | None:
    """The index that, called the first error in every row that is long enough, has the highest F1 here.

    It is chosen on the rows that it is judged by, which flatters the baseline, never the verifier. None
    without both kinds of row.

    Example:
        >>> position_guess(first_errors([[1, 0], [1]], [[0.5, 0.5], [0.5]], [0, 1]))
        1
    """
    found = [accuracy(guessed(rows, index), rows.erroneous).f1 for index in _indices(rows)]
    known = [value for value in found if value is not None]
    return int(np.argmax(known)) if known else None


def guessed(rows: FirstErrors, index: int) -> BoolArray:
    """Which rows are right if `index` is called the first error in every row that has it."""
    found: BoolArray = np.minimum(index, rows.length) == rows.bad
    return found


def _indices(rows: FirstErrors) -> range:
    return range(int(rows.length.max(initial=0)) + 1)


def _kinds(rows: FirstErrors) -> tuple[BoolArray, BoolArray]:
    return rows.erroneous, ~rows.erroneous


def _marks(rows: FirstErrors) -> FloatArray:
    """Scores at which some row begins or ceases to be right, ascending."""
    ends = np.concatenate([rows.lowest, rows.highest])
    found: FloatArray = np.unique(ends[np.isfinite(ends)])
    return found


def _thresholds(marks: FloatArray) -> FloatArray:
    """A threshold for each interval that the marks cut [0, 1] into; one above 1 where a mark is 1."""
    if not len(marks):
        return np.array([THRESHOLD])
    # A row is right *at* its highest: the interval up to a mark holds the mark itself, so a half-way point
    # that falls on the upper mark in floating point is still inside.
    middle = marks[:-1] + (marks[1:] - marks[:-1]) / 2
    middle = np.where(middle > marks[:-1], middle, marks[1:])
    last = max((marks[-1] + 1) / 2, np.nextafter(marks[-1], 2.0))
    return np.concatenate([[0.0], middle, [last]])


def _right_at_marks(places: tuple[IntArray, IntArray], marks: FloatArray, weights: FloatArray) -> FloatArray:
    """Weight of the rows that are right in each interval; shape ``(marks + 1,)``."""
    opens, closes = places
    size = len(marks) + 2
    change = np.bincount(opens, weights=weights, minlength=size) - np.bincount(
        closes, weights=weights, minlength=size
    )
    found: FloatArray = np.cumsum(change)[: len(marks) + 1]
    return found


def _places(rows: FirstErrors, marks: FloatArray) -> tuple[IntArray, IntArray]:
    """The first interval in which each row is right, and the first after it in which it is not."""
    opens = np.where(np.isinf(rows.lowest), 0, np.searchsorted(marks, rows.lowest) + 1)
    closes = np.where(np.isinf(rows.highest), len(marks) + 1, np.searchsorted(marks, rows.highest) + 1)
    return opens, np.maximum(opens, closes)  # an error that scores above a step before it is never right


def _fit(rows: FirstErrors, marks: FloatArray, weights: FloatArray) -> FloatArray:
    """The best threshold under each row of weights; NaN where there are no rows of a kind."""
    thresholds, places = _thresholds(marks), _places(rows, marks)
    order = np.argsort(np.abs(thresholds - THRESHOLD), kind="stable")  # the first of equals is the nearest
    fitted = np.full(len(weights), np.nan)
    for number, each in enumerate(weights):
        row = each[rows.problem]
        shares = []
        for kind in _kinds(rows):
            of = row[kind].sum()
            if of == 0:
                break
            shares.append(_right_at_marks(places, marks, row * kind) / of)
        if len(shares) == 2:
            # Sums of weights in another order differ in their last bits; equal is equal.
            f1 = np.round(harmonic(*shares), 12)
            fitted[number] = thresholds[order[np.argmax(f1[order])]]
    return fitted
