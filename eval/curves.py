"""Accuracy at n from a pool of N candidates, in closed form: pass@n, best-of-n and the random pick.

Every figure is the exact expectation over all C(N, n) subsets *without* replacement, with ties broken
uniformly at random; nothing is drawn. All three are one idea: put the candidates of a problem in order,
and the best candidate of a random subset is the one at rank i (from 0) with probability

    C(N - 1 - i, n - 1) / C(N, n)

so an accuracy is the dot product of these rank weights with the chance of being right at each rank. Equal
scores share: by symmetry each rank of a group of m equal scores, k of them right, is right with chance k / m.

Majority vote has no such order and lives in `eval.majority`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eval.scores import FloatArray

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@lru_cache(maxsize=256)
def rank_weights(size: int, n: int) -> FloatArray:
    """Chance that the best of ``n`` drawn from ``size`` ranked candidates is the one at each rank.

    The ratio of neighbours is used, not the binomials themselves, so there is nothing to overflow and no
    difference to cancel: each weight is right to about ``size`` rounding errors.

    Args:
        size: candidates in the pool, ``N >= 1``.
        n: candidates drawn, ``1 <= n <= N``.

    Returns:
        Shape ``(size,)``, read-only, non-increasing, summing to 1.

    Example:
        >>> rank_weights(4, 2).round(4).tolist()  # the best of four is in half of the pairs
        [0.5, 0.3333, 0.1667, 0.0]
    """
    if not 1 <= n <= size:
        raise ValueError(f"n = {n} of a pool of {size}: expected 1 <= n <= {size}")
    ranks = np.arange(size - 1)
    steps = (size - n - ranks).clip(0) / (size - 1 - ranks)
    weights = (n / size) * np.concatenate(([1.0], np.cumprod(steps)))
    weights.setflags(write=False)
    return weights


def _weights(size: int, ns: Sequence[int]) -> FloatArray:
    return np.stack([rank_weights(size, n) for n in ns], axis=1)


def pass_at(right: IntArray, size: int, ns: Sequence[int]) -> FloatArray:
    """pass@n: the chance that a random subset of n holds a right candidate, 1 - C(N - c, n) / C(N, n).

    Args:
        right: c, the number of right candidates of each problem; shape ``(problems,)``.
        size: N, candidates a problem.
        ns: sizes of subset, each in [1, N].

    Returns:
        Shape ``(problems, len(ns))``.

    Example:
        >>> pass_at(np.array([4]), 16, [1, 8]).round(3).tolist()  # with replacement it would be 0.900
        [[0.25, 0.962]]
    """
    reached = np.concatenate((np.zeros((1, len(ns))), np.cumsum(_weights(size, ns), axis=0)))
    return np.minimum(reached[right], 1.0)


def random_pick(right: IntArray, answered: IntArray, size: int, ns: Sequence[int]) -> FloatArray:
    """Accuracy of a candidate drawn uniformly from those of the subset that have an answer.

    A candidate without an answer ranks below all that have one in every rule, in this one too, so this is
    not pass@1: it is best-of-n by a score that knows nothing.

    Args:
        right: right candidates of each problem; shape ``(problems,)``.
        answered: candidates with an answer; shape ``(problems,)``.
        size: N, candidates a problem.
        ns: sizes of subset.

    Returns:
        Shape ``(problems, len(ns))``.

    Example:
        >>> random_pick(np.array([1]), np.array([2]), 2, [1, 2]).tolist()
        [[0.5, 0.5]]
        >>> random_pick(np.array([1]), np.array([1]), 2, [1, 2]).tolist()  # the other one has no answer
        [[0.5, 1.0]]
    """
    picked: FloatArray = (right / np.maximum(answered, 1))[:, None] * pass_at(answered, size, ns)
    return picked


def best_of(scores: FloatArray, answered: BoolArray, right: BoolArray, ns: Sequence[int]) -> FloatArray:
    """Accuracy of best-of-n: the highest score among the subset's candidates that have an answer.

    Scores are equal when they are the same double; equal scores at the top are drawn from uniformly. A
    subset without any answer counts as wrong.

    Args:
        scores: shape ``(problems, N)``, higher is better, no NaN; not looked at where there is no answer.
        answered: shape ``(problems, N)``.
        right: shape ``(problems, N)``; a right candidate has an answer.
        ns: sizes of subset, each in [1, N].

    Returns:
        Shape ``(problems, len(ns))``.

    Example:
        >>> scores, right = np.array([[0.9, 0.9, 0.1]]), np.array([[True, False, True]])
        >>> best_of(scores, np.ones_like(right), right, [1, 2, 3]).round(4).tolist()
        [[0.6667, 0.5, 0.5]]
    """
    shape = scores.shape
    if answered.shape != shape or right.shape != shape:
        raise ValueError(
            f"expected three arrays of one shape, received {shape}, {answered.shape}, {right.shape}"
        )
    if np.isnan(scores[answered]).any():
        raise ValueError("a score is NaN; it has no rank")
    problems, size = shape
    key = np.where(answered, scores, -np.inf)
    if np.isneginf(scores[answered]).any():
        # Two keys, answered first: a score of -inf must still beat a candidate without an answer.
        order = np.lexsort((-key, ~answered), axis=1)
    else:
        order = np.argsort(-key, axis=1)
    ranked = np.take_along_axis(key, order, axis=1)
    ranked_answered = np.take_along_axis(answered, order, axis=1)
    ranked_right = np.take_along_axis(right & answered, order, axis=1)
    opens = np.ones(shape, dtype=bool)
    opens[:, 1:] = (ranked[:, 1:] != ranked[:, :-1]) | (ranked_answered[:, 1:] != ranked_answered[:, :-1])
    group = np.cumsum(opens.ravel()) - 1  # a row's first rank always opens a group, so none spans two rows
    members = np.bincount(group)
    share = np.bincount(group, weights=ranked_right.ravel()) / members
    chance = share[group].reshape(problems, size)
    found: FloatArray = chance @ _weights(size, ns)
    return np.clip(found, 0.0, 1.0)
