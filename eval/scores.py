"""Solution scores: from the step scores of a solution to one number that ranks it.

The one home of the five reductions. `aggregate` reduces one solution, `solution_scores` many at once; both
give the same numbers. A `Calibration` maps step scores before they are reduced; it is fitted elsewhere.

Soft-min is -T log mean exp(-s / T): the mellowmax operator of Asadi and Littman (arXiv 1612.05628) with
ω = -1 / T. At small T it is the minimum, at large T the mean, and it lies between them, so in [0, 1].
The other soft minimum in use weighs the scores by softmax(-s / T) and sums them (PURE, arXiv 2504.15275);
that one is not monotone: raising a step's score can lower the solution's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

Aggregation = Literal["min", "softmin", "prod", "last", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

SOFTMIN_TEMPERATURE = 0.1
"""T of soft-min where nothing says otherwise: a step 0.1 above the weakest weighs a third of it, one
0.5 above next to nothing."""

FloatArray = npt.NDArray[np.float64]


class Calibration(Protocol):
    """What a fitted calibration is to the rules: a map of step scores, never falling, within [0, 1].

    A map that never falls leaves the order of solutions by ``min`` and ``last`` as it was (where it is flat,
    it makes ties); what it can change is a product, a mean, a soft-min, and the weight of a vote.
    """

    def __call__(self, scores: FloatArray, /) -> FloatArray:
        """Calibrated scores, of the shape of ``scores``, each in [0, 1]."""
        ...


def aggregate(
    step_scores: Sequence[float], how: Aggregation, temperature: float = SOFTMIN_TEMPERATURE
) -> float:
    """Reduce the step scores of one solution to a single score.

    Args:
        step_scores: P(step is correct) in step order; shape ``(n_steps,)``, each in [0, 1], ``n_steps >= 1``.
        how: ``"min"`` ranks by the weakest step (Math-Shepherd, arXiv 2312.08935, section 3.3);
            ``"softmin"`` by the weakest ones, so that two weak steps are worse than one;
            ``"prod"`` treats steps as independent, so it favours short solutions (arXiv 2305.20050);
            ``"last"`` takes the final step's score, which for Monte-Carlo labels is close to the value of
            the whole solution (arXiv 2501.07301); ``"mean"`` forgives one bad step in a long solution.
        temperature: T of soft-min, above 0, in units of a score.

    Returns:
        Solution score in [0, 1].

    Raises:
        ValueError: if ``step_scores`` is empty (0.0 would silently rank it last) or ``how`` is unknown.

    Example:
        >>> aggregate([0.9, 0.5, 0.8], "min")
        0.5
        >>> aggregate([0.5, 0.5], "prod")
        0.25
        >>> [round(aggregate([0.9, 0.5, 0.8], "softmin", each), 3) for each in (0.001, 0.1, 1000.0)]
        [0.501, 0.603, 0.733]
    """
    if not step_scores:
        raise ValueError("a solution without steps has no score to aggregate; solution_scores counts it as 0")
    if how == "min":
        return float(min(step_scores))
    if how == "softmin":
        # From the minimum on, so that no exponential overflows; less 1, so that a large T loses no digits.
        least = min(step_scores)
        below = math.fsum(math.expm1((least - each) / temperature) for each in step_scores)
        return min(least - temperature * math.log1p(below / len(step_scores)), 1.0)
    if how == "prod":
        return float(math.prod(step_scores))
    if how == "last":
        return float(step_scores[-1])
    if how == "mean":
        return math.fsum(step_scores) / len(step_scores)
    raise ValueError(f"unknown aggregation {how!r}; expected one of {', '.join(AGGREGATIONS)}")


def solution_scores(
    step_scores: Sequence[Sequence[float]],
    how: Aggregation,
    temperature: float = SOFTMIN_TEMPERATURE,
    calibration: Calibration | None = None,
) -> FloatArray:
    """Score many solutions at once; a solution without steps scores 0, the project's stated policy.

    Args:
        step_scores: one sequence a solution, ragged; shape ``(n_solutions,)`` of ``(n_steps_i,)``.
        how: as in `aggregate`.
        temperature: as in `aggregate`.
        calibration: maps the step scores first; they are used as they are if None.

    Returns:
        Shape ``(n_solutions,)``, each in [0, 1].

    Example:
        >>> solution_scores([[0.9, 0.5], [], [0.25]], "min").tolist()
        [0.5, 0.0, 0.25]
    """
    if how not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {how!r}; expected one of {', '.join(AGGREGATIONS)}")
    lengths = np.fromiter((len(scores) for scores in step_scores), dtype=np.int64, count=len(step_scores))
    out = np.zeros(len(lengths))
    scored = lengths > 0
    if not scored.any():
        return out
    flat = np.fromiter(chain.from_iterable(step_scores), dtype=np.float64, count=int(lengths.sum()))
    if calibration is not None:
        flat = _calibrated(flat, calibration)
    ends = np.cumsum(lengths)[scored]
    starts = ends - lengths[scored]
    if how == "min":
        out[scored] = np.minimum.reduceat(flat, starts)
    elif how == "softmin":
        least = np.minimum.reduceat(flat, starts)
        above = flat - np.repeat(least, lengths[scored])
        below = np.add.reduceat(np.expm1(-above / temperature), starts)
        out[scored] = np.minimum(least - temperature * np.log1p(below / lengths[scored]), 1.0)
    elif how == "prod":
        out[scored] = np.multiply.reduceat(flat, starts)
    elif how == "last":
        out[scored] = flat[ends - 1]
    else:
        out[scored] = np.add.reduceat(flat, starts) / lengths[scored]
    return out


def _calibrated(scores: FloatArray, calibration: Calibration) -> FloatArray:
    """The scores as a calibration maps them, which must be scores again."""
    found = np.asarray(calibration(scores), dtype=np.float64)
    if found.shape != scores.shape or not np.all((found >= 0) & (found <= 1)):
        raise ValueError(
            f"the calibration gave shape {found.shape} for {scores.shape}, or a number outside [0, 1]"
        )
    return found
