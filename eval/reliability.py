"""Do step scores mean what they say? Negative log-likelihood, Brier score, calibration error.

The bins are adaptive: they hold equal numbers of steps (equal scores stay together), as scikit-learn's
``calibration_curve`` with ``strategy="quantile"``. Verifiers put most scores near 1, where bins of equal
width would hold nearly all of them. ``ece`` is the mean distance of a bin's mean score from its share of good
steps, weighted by its steps. It is pushed up by sampling, the more the fewer steps a bin has: even perfect
scores have some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.kinds import BINS
from eval.resampling import interval, problem_weights
from eval.scores import FloatArray

CLIP = 1e-6
"""In a logarithm a score is no nearer to 0 or 1 than this: one sure and wrong step costs 13.8 nats."""

Interval = tuple[float, float] | None


class Bin(NamedTuple):
    """One bin of the reliability diagram: its mean score, its share of good steps, and how many it has."""

    mean_score: float
    share_good: float
    steps: int


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """Labelled steps as columns.

    Attributes:
        score: P(step is correct), in [0, 1]; shape ``(steps,)``.
        good: shape ``(steps,)``.
        index: of the step in its solution, from 0; shape ``(steps,)``.
        problem: number of its problem; shape ``(steps,)``.
        problems: how many there are.
    """

    score: FloatArray
    good: BoolArray
    index: IntArray
    problem: IntArray
    problems: int


class Reliability(NamedTuple):
    """Three measures of the same thing, all the lower the better; None without steps."""

    nll: float | None
    brier: float | None
    ece: float | None


def binary_nll(score: FloatArray, good: BoolArray) -> float:
    """Mean negative log-likelihood of the labels, in nats a step; scores are clipped at `CLIP`.

    Example:
        >>> round(binary_nll(np.array([0.5, 1.0]), np.array([True, True])), 4)
        0.3466
    """
    from sklearn.metrics import log_loss  # takes a second to import

    return float(log_loss(good, np.clip(score, CLIP, 1 - CLIP), labels=[False, True]))


def bins_of(score: FloatArray, bins: int = BINS) -> IntArray:
    """The bin of each step, from 0; some bins are empty where scores repeat.

    Example:
        >>> bins_of(np.array([0.1, 0.2, 0.8, 0.9]), 2).tolist()
        [0, 0, 1, 1]
    """
    edges = np.quantile(score, np.linspace(0, 1, bins + 1))
    found: IntArray = np.searchsorted(edges[1:-1], score)
    return found


def reliability_bins(steps: ScoredSteps, bins: int = BINS) -> list[Bin]:
    """The reliability diagram: bins in the order of their scores, empty ones left out."""
    if not len(steps.score):
        return []
    at = bins_of(steps.score, bins)
    count = np.bincount(at, minlength=bins)
    score, good = (np.bincount(at, weights=each, minlength=bins) for each in (steps.score, steps.good))
    return [
        Bin(float(score[each] / count[each]), float(good[each] / count[each]), int(count[each]))
        for each in np.flatnonzero(count)
    ]


def expected_calibration_error(found: Sequence[Bin]) -> float | None:
    """Mean distance of a bin's score from its share of good steps, weighted by its steps.

    Example:
        >>> round(expected_calibration_error([Bin(0.2, 0.0, 1), Bin(0.9, 0.8, 3)]), 3)
        0.125
    """
    total = sum(each.steps for each in found)
    if not total:
        return None
    return sum(abs(each.mean_score - each.share_good) * each.steps for each in found) / total


def reliability(steps: ScoredSteps, bins: int = BINS) -> Reliability:
    """The three measures of some scores."""
    if not len(steps.score):
        return Reliability(None, None, None)
    from sklearn.metrics import brier_score_loss

    return Reliability(
        nll=binary_nll(steps.score, steps.good),
        brier=float(brier_score_loss(steps.good, steps.score, labels=[False, True])),
        ece=expected_calibration_error(reliability_bins(steps, bins)),
    )


def reliability_intervals(
    steps: ScoredSteps, *, bins: int = BINS, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """95% intervals of ``nll``, ``brier`` and ``ece`` over problems; the bins are those of the sample."""
    value = reliability(steps, bins)
    if not len(steps.score):
        return dict.fromkeys(Reliability._fields)
    clipped = np.clip(steps.score, CLIP, 1 - CLIP)
    columns = {
        "nll": -np.log(np.where(steps.good, clipped, 1 - clipped)),
        "brier": (steps.score - steps.good) ** 2,
    }
    size = steps.problems
    totals = {
        name: np.bincount(steps.problem, weights=each, minlength=size) for name, each in columns.items()
    }
    count = np.bincount(steps.problem, minlength=size)
    place = steps.problem * bins + bins_of(steps.score, bins)
    gap = np.bincount(place, weights=steps.score - steps.good, minlength=size * bins).reshape(size, bins)
    drawn: dict[str, list[FloatArray]] = {name: [] for name in Reliability._fields}
    for weights in problem_weights(size, resamples, seed):
        of = weights @ count
        there = np.where(of > 0, of, np.nan)
        for name, total in totals.items():
            drawn[name].append(weights @ total / there)
        drawn["ece"].append(np.abs(weights @ gap).sum(axis=1) / there)
    return {name: interval(getattr(value, name), np.concatenate(each)) for name, each in drawn.items()}
