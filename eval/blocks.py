"""Pools of different sizes: cut into blocks of one size for the rules, their curves put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.grading import GradedProblem, ballots_of
from eval.rules import Ballots, Curve
from eval.scores import FloatArray
from shepherd.errors import ShepherdError
from shepherd.records import ProblemPool

StepScores = Sequence[Sequence[Sequence[float]]]
"""Problems, candidates, steps: P(step is correct)."""

SolutionScores = dict[str, list[FloatArray]]
"""By name of a score: for each problem, one number a candidate."""


def blocks_of(
    pools: Sequence[ProblemPool],
    graded: Sequence[GradedProblem],
    kept: Sequence[int],
    plain: SolutionScores,
    controls: SolutionScores,
    calibrated: SolutionScores,
) -> list[tuple[list[int], Ballots]]:
    """The kept problems by the size of their pools: their places, and their ballots."""
    blocks = []
    for size in sorted({len(pools[index].candidates) for index in kept}):
        rows = [index for index in kept if len(pools[index].candidates) == size]
        mine = (
            {name: [values[row] for row in rows] for name, values in given.items()}
            for given in (plain, controls, calibrated)
        )
        ballots = ballots_of([pools[row] for row in rows], [graded[row] for row in rows], *mine)
        blocks.append((rows, ballots))
    return blocks


def joined(parts: Sequence[Curve], order: np.ndarray[Any, np.dtype[np.intp]]) -> Curve:
    """The curves of pools of different sizes, put back in the problems' order."""
    variances = [part.variance for part in parts if part.variance is not None]
    subsets = [part.subsets for part in parts if part.subsets is not None]
    return Curve(
        np.concatenate([part.accuracy for part in parts])[order],
        np.concatenate(variances)[order] if variances else None,
        np.concatenate(subsets)[order] if subsets else None,
    )


def check_lengths(name: str, pools: Sequence[ProblemPool], scores: StepScores) -> None:
    """Refuse step scores that are not one list a candidate."""
    if len(scores) != len(pools):
        raise ValueError(f"{name}: expected {len(pools)} problems, received {len(scores)}")
    for pool, mine in zip(pools, scores, strict=True):
        if len(mine) != len(pool.candidates):
            expected = len(pool.candidates)
            raise ValueError(
                f"{name}: {pool.problem.id}: expected {expected} candidates, received {len(mine)}"
            )


def check_sizes(pools: Sequence[ProblemPool], points: Sequence[int]) -> None:
    """Refuse an n below 1 or above a pool's size."""
    if points[0] < 1:
        raise ShepherdError(f"n = {points[0]}: a subset has at least one candidate; give n of 1 or more")
    for pool in pools:
        if len(pool.candidates) < points[-1]:
            raise ShepherdError(
                f'problem "{pool.problem.id}" has {len(pool.candidates)} candidates, n is {points[-1]}; '
                "give an n no larger than the pool, or more candidates"
            )
