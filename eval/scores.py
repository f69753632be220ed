"""Solution scores: from the step scores of a solution to one number that ranks it.

The one home of the four reductions. `aggregate` reduces one solution, `solution_scores` many at once; both
give the same numbers. Left out on purpose: soft-min and calibrated scores, which have a fitted parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Aggregation = Literal["min", "prod", "last", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

FloatArray = npt.NDArray[np.float64]


def aggregate(step_scores: Sequence[float], how: Aggregation) -> float:
    """Reduce the step scores of one solution to a single score.

    Args:
        step_scores: P(step is correct) in step order; shape ``(n_steps,)``, each in [0, 1], ``n_steps >= 1``.
        how: ``"min"`` ranks by the weakest step (Math-Shepherd, arXiv 2312.08935, section 3.3);
            ``"prod"`` treats steps as independent, so it favours short solutions (arXiv 2305.20050);
            ``"last"`` takes the final step's score, which for Monte-Carlo labels is close to the value of
            the whole solution (arXiv 2501.07301); ``"mean"`` forgives one bad step in a long solution.

    Returns:
        Solution score in [0, 1].

    Raises:
        ValueError: if ``step_scores`` is empty (0.0 would silently rank it last) or ``how`` is unknown.

    Example:
        >>> aggregate([0.9, 0.5, 0.8], "min")
        0.5
        >>> aggregate([0.5, 0.5], "prod")
        0.25
    """
    if not step_scores:
        raise ValueError("a solution without steps has no score to aggregate; solution_scores counts it as 0")
    if how == "min":
        return float(min(step_scores))
    if how == "prod":
        return float(math.prod(step_scores))
    if how == "last":
        return float(step_scores[-1])
    if how == "mean":
        return math.fsum(step_scores) / len(step_scores)
    raise ValueError(f"unknown aggregation {how!r}; expected one of {', '.join(AGGREGATIONS)}")


def solution_scores(step_scores: Sequence[Sequence[float]], how: Aggregation) -> FloatArray:
    """Score many solutions at once; a solution without steps scores 0, the project's stated policy.

    Args:
        step_scores: one sequence a solution, ragged; shape ``(n_solutions,)`` of ``(n_steps_i,)``.
        how: as in `aggregate`.

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
    ends = np.cumsum(lengths)[scored]
    starts = ends - lengths[scored]
    if how == "min":
        out[scored] = np.minimum.reduceat(flat, starts)
    elif how == "prod":
        out[scored] = np.multiply.reduceat(flat, starts)
    elif how == "last":
        out[scored] = flat[ends - 1]
    else:
        out[scored] = np.add.reduceat(flat, starts) / lengths[scored]
    return out
