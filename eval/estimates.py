"""From per-problem accuracies to means, intervals and comparisons with majority vote: every rule, every n.

All columns (a rule at an n, and its difference to majority there) are resampled by the same draws and flipped
by the same signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.intervals import bootstrap_intervals
from eval.rules import Curve
from eval.scores import FloatArray
from eval.significance import Difference, differing, sign_flip_p


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems.

    Attributes:
        value: an accuracy, or a difference of two.
        ci95: its 95% bootstrap interval over problems.
        se: where the value was estimated from drawn subsets, the standard error of that; None where exact.
    """

    value: float
    ci95: tuple[float, float]
    se: float | None = None

    def to_json(self, name: str) -> dict[str, Any]:
        """The estimate under ``name`` ("accuracy" or "difference")."""
        found: dict[str, Any] = {name: self.value, "ci95": list(self.ci95)}
        return found if self.se is None else {**found, "se": self.se}


@dataclass(frozen=True, slots=True)
class Point:
    """One rule at one n: its accuracy, and what it adds to majority vote there (None for majority itself)."""

    n: int
    accuracy: Estimate
    minus_majority: Difference | None

    def paired(self) -> Estimate | None:
        """What it adds, with the drawing error of its accuracy (that of majority is exact)."""
        added = self.minus_majority
        return None if added is None else Estimate(added.value, added.ci95, self.accuracy.se)


def estimate_curves(
    curves: Mapping[str, Curve], ns: Sequence[int], *, resamples: int, seed: int
) -> dict[str, list[Point]]:
    """Estimate every rule at every n.

    Args:
        curves: by rule, ``majority`` among them; each of shape ``(problems, len(ns))``.
        ns: sizes of subset.
        resamples: for the intervals.
        seed: of the resampled problems and of the drawn sign flips.

    Returns:
        For each rule its points, in the order of ``ns``.
    """
    majority = curves["majority"].accuracy
    others = [rule for rule in curves if rule != "majority"]
    accuracies = np.hstack([curve.accuracy for curve in curves.values()])
    differences = np.hstack(
        [np.empty((len(majority), 0)), *(curves[rule].accuracy - majority for rule in others)]
    )
    values = np.hstack((accuracies, differences))
    means, bounds = values.mean(axis=0), bootstrap_intervals(values, resamples, seed)
    p = sign_flip_p(differences, seed=seed)

    def interval(column: int) -> tuple[float, float]:
        return float(bounds[column, 0]), float(bounds[column, 1])

    def minus_majority(rule: str, at: int) -> Difference | None:
        if rule == "majority":
            return None
        place = others.index(rule) * len(ns) + at
        column = accuracies.shape[1] + place
        subsets = curves[rule].subsets
        apart = differing(
            curves[rule].accuracy[:, at], majority[:, at], None if subsets is None else subsets[:, at], None
        )
        return Difference(
            float(means[column]), interval(column), float(p[place]), int(apart.sum()), differences[:, place]
        )

    found = {}
    for index, (rule, curve) in enumerate(curves.items()):
        columns = range(index * len(ns), (index + 1) * len(ns))
        found[rule] = [
            Point(
                n,
                Estimate(float(means[column]), interval(column), _drawing_error(curve.variance, at)),
                minus_majority(rule, at),
            )
            for at, (n, column) in enumerate(zip(ns, columns, strict=True))
        ]
    return found


def _drawing_error(variance: FloatArray | None, at: int) -> float | None:
    """Standard error of a mean accuracy by the drawing of subsets; None where nothing was drawn."""
    if variance is None or not np.any(variance[:, at] > 0):
        return None
    return float(np.sqrt(np.sum(variance[:, at])) / len(variance))
