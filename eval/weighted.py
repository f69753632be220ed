"""Weighted vote: each candidate votes for its answer with its solution score; the largest sum wins.

Exact for the whole pool (n = N) and for single candidates (n = 1). In between there is no closed form, so
it is estimated from a fixed seed's subsets, drawn without replacement, and the estimate carries its
standard error.

Sums of floats depend on the order of adding. Answers whose sums differ by less than `LEVEL` of the largest
are level, and share: that is above the rounding error of a thousand additions in any order (1e-13), and far
below anything that a score can mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.scores import FloatArray

LEVEL = 1e-12
"""Relative difference below which two sums of scores are a tie."""


@dataclass(frozen=True, slots=True)
class WeightedVotes:
    """Accuracy of the weighted vote at each n, and what is known of the error of those that are estimated.

    Attributes:
        accuracy: shape ``(problems, len(ns))``.
        variance: of each accuracy, over draws of subsets; 0 where it is exact; shape ``(problems, len(ns))``.
        subsets: how many subsets each accuracy is the mean of; 0 where it is exact; the same shape.
    """

    accuracy: FloatArray
    variance: FloatArray
    subsets: IntArray


def winners(sums: FloatArray, present: BoolArray) -> BoolArray:
    """Mark the answers that share the largest sum among those present; shapes ``(..., answers)``.

    Example:
        >>> winners(np.array([0.1 + 0.2, 0.3, 0.0]), np.array([True, True, True])).tolist()
        [True, True, False]
    """
    top = np.where(present, sums, -np.inf).max(axis=-1, keepdims=True, initial=-np.inf)
    level: BoolArray = sums >= top - LEVEL * np.abs(np.where(np.isfinite(top), top, 0.0))
    return present & level


def weighted_votes(
    codes: IntArray,
    right: BoolArray,
    weights: Mapping[str, FloatArray],
    ns: Sequence[int],
    *,
    ids: Sequence[str],
    subsets: int = 200,
    seed: int = 0,
) -> dict[str, WeightedVotes]:
    """Accuracy of the weighted vote by each of several scores, on the same subsets.

    The subsets of a problem come from ``seed`` and the problem's id, so they depend neither on the other
    problems nor on their order. The subsets of one problem at different n are nested.

    Args:
        codes: one integer an answer, -1 for none; shape ``(problems, N)``.
        right: shape ``(problems, N)``.
        weights: name of a score to the scores, not negative; each of shape ``(problems, N)``.
        ns: sizes of subset, each in [1, N].
        ids: one name a problem, for the seed.
        subsets: subsets drawn a problem, at least 2.
        seed: of the subsets.

    Returns:
        The same names with their accuracies.
    """
    if subsets < 2:
        raise ValueError(f"{subsets} subsets: at least 2 are needed to know the error of the estimate")
    for name, values in weights.items():
        if values.shape != codes.shape:
            raise ValueError(f"{name}: expected weights of shape {codes.shape}, received {values.shape}")
        if not np.all(values >= 0):
            raise ValueError(f"{name}: a weight is negative or NaN; a vote cannot count less than nothing")
    if not weights:
        return {}
    problems, size = codes.shape
    shape = (problems, len(ns))
    meaned = np.zeros(shape, dtype=np.int64)
    found = {name: WeightedVotes(np.zeros(shape), np.zeros(shape), meaned) for name in weights}
    names = list(weights)
    between = sorted({n for n in ns if 1 < n < size})
    for row in range(problems):
        mine = np.stack([weights[name][row] for name in names])
        whole = _whole_pool(codes[row], right[row], mine)
        drawn = None
        for column, n in enumerate(ns):
            if n == size:
                accuracy, variance = whole, np.zeros(len(names))
            elif n == 1 or not right[row].any():
                accuracy, variance = np.full(len(names), right[row].mean()), np.zeros(len(names))
            else:
                if drawn is None:
                    rng = np.random.default_rng([seed, crc32(ids[row].encode())])
                    drawn = dict(_drawn(codes[row], right[row], mine, between, subsets, rng))
                accuracy, variance = drawn[n]
                meaned[row, column] = subsets
            for which, name in enumerate(names):
                found[name].accuracy[row, column] = accuracy[which]
                found[name].variance[row, column] = variance[which]
    return found


def _whole_pool(codes: IntArray, right: BoolArray, weights: FloatArray) -> FloatArray:
    """Accuracy with every candidate voting; shape ``(scores,)``."""
    answers = int(codes.max(initial=-1)) + 1
    voting = codes >= 0
    sums: FloatArray = np.stack(
        [np.bincount(codes[voting], weights=each[voting], minlength=answers) for each in weights]
    ).astype(np.float64)
    present = np.bincount(codes[voting], minlength=answers) > 0
    best = winners(sums, present)
    is_right = np.zeros(answers, dtype=bool)
    is_right[codes[right]] = True
    return np.asarray((best & is_right).sum(axis=-1) / np.maximum(best.sum(axis=-1), 1), dtype=np.float64)


def _drawn(
    codes: IntArray,
    right: BoolArray,
    weights: FloatArray,
    ns: Sequence[int],
    subsets: int,
    rng: np.random.Generator,
) -> list[tuple[int, tuple[FloatArray, FloatArray]]]:
    """For each n, the mean and the variance of the mean over the subsets; shapes ``(scores,)``."""
    size, answers = len(codes), int(codes.max()) + 1
    is_right = np.zeros(answers, dtype=bool)
    is_right[codes[right]] = True
    order = rng.permuted(np.broadcast_to(np.arange(size), (subsets, size)), axis=1)
    # One more column takes the candidates without an answer, and is never looked at.
    cell = np.where(codes < 0, answers, codes)[order] + np.arange(subsets)[:, None] * (answers + 1)
    cells = subsets * (answers + 1)
    sums = np.zeros((len(weights), cells))
    votes = np.zeros(cells, dtype=np.int64)
    found, done = [], 0
    for n in ns:
        added = cell[:, done:n].ravel()
        votes += np.bincount(added, minlength=cells)
        for which, each in enumerate(weights):
            sums[which] += np.bincount(added, weights=each[order[:, done:n]].ravel(), minlength=cells)
        done = n
        present = votes.reshape(subsets, answers + 1)[:, :answers] > 0
        best = winners(sums.reshape(len(weights), subsets, answers + 1)[..., :answers], present[None])
        accuracy = (best & is_right).sum(axis=-1) / np.maximum(best.sum(axis=-1), 1)
        found.append((n, (accuracy.mean(axis=1), accuracy.var(axis=1, ddof=1) / subsets)))
    return found
