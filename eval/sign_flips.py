"""The sign-flip test: were two rules alike, each problem's difference could as well be reversed.

The p-value is the share of sign flips whose sum is at least as far from 0 as the one found (Fisher's
randomisation test on pairs). It is exact where the flips can be counted, whatever the number of problems:
differences of one size have a binomial sum, and few sizes a convolution of few binomials.
"""

from __future__ import annotations

import numpy as np

from eval.majority import binomial
from eval.scores import FloatArray

FLIPS = 10_000
"""Sign flips drawn where they cannot all be counted."""

ROUNDING = 1e-9
"""Accuracies this close are equal: a closed form is right to about 1e-12."""

_GROUPS = 16  # different sizes of difference up to which all sign flips are counted
_STATES = 1 << 16  # different sums kept while counting
_CELLS = 1 << 21  # drawn signs held at once (16 MiB)


def sign_flip_p(differences: FloatArray, flips: int = FLIPS, seed: int = 0) -> FloatArray:
    """Two-sided p-value of no difference between two rules.

    Where the differences have few sizes, as at the pool's whole size, where a rule is right or wrong but for
    ties, all flips are counted. Otherwise they are drawn, and the one found counts as one of them (Phipson
    and Smyth, "Permutation p-values should never be zero", 2010).

    Args:
        differences: shape ``(problems, columns)``; every column is flipped by the same draws.
        flips: how many are drawn.
        seed: of the draws.

    Returns:
        Shape ``(columns,)``, each in (0, 1]; 1 where nothing differs.

    Example:
        >>> five_of_five = np.array([[1.0], [1.0], [1.0], [1.0], [1.0], [0.0]])
        >>> sign_flip_p(five_of_five).tolist()  # 2 of 32 sign flips
        [0.0625]
    """
    values = np.where(np.abs(differences) > ROUNDING, differences, 0.0)
    found = np.ones(values.shape[1])
    left = []
    for column in np.flatnonzero(values.any(axis=0)):
        counted = _count_flips(values[:, column])
        if counted is None:
            left.append(column)
        else:
            found[column] = counted
    if left:
        found[left] = _draw_flips(values[:, left], flips, seed)
    return found


def _count_flips(values: FloatArray) -> float | None:
    """The exact p-value of one column, or None where there are too many different sums."""
    apart = np.abs(values[values != 0])
    _, first, times = np.unique(apart.round(9), return_index=True, return_counts=True)
    if len(first) > _GROUPS:
        return None
    sums, chance = np.zeros(1), np.ones(1)
    for size, count in zip(apart[first].tolist(), times.tolist(), strict=True):
        if len(sums) * (count + 1) > 4 * _STATES:
            return None
        steps = size * np.arange(-count, count + 1, 2)
        reached = np.add.outer(sums, steps).round(12).ravel()
        sums, where = np.unique(reached, return_inverse=True)
        if len(sums) > _STATES:
            return None
        reached_by = np.multiply.outer(chance, binomial(count, 0.5)).ravel()
        chance = np.bincount(where, weights=reached_by).astype(np.float64)
    far = np.abs(sums) >= abs(float(values.sum())) - _slack(values)
    return min(1.0, float(chance[far].sum()))


def _draw_flips(values: FloatArray, flips: int, seed: int) -> FloatArray:
    """p-values by drawn sign flips, the same for every column."""
    problems = len(values)
    rng = np.random.default_rng(seed)
    total = values.sum(axis=0)
    bound = np.abs(total) - _slack(values)
    far = np.ones(values.shape[1])  # the one found
    at_once = max(1, _CELLS // problems)
    for start in range(0, flips, at_once):
        rows = min(at_once, flips - start)
        bits = rng.integers(1 << 64, size=(rows, -(-problems // 64)), dtype=np.uint64).astype("<u8")
        kept = np.unpackbits(bits.view(np.uint8), axis=1, count=problems).astype(np.float64)
        far += (np.abs(2 * (kept @ values) - total) >= bound).sum(axis=0)
    return far / (flips + 1)


def _slack(values: FloatArray) -> FloatArray:
    """How far apart two sums of the same differences may lie by rounding."""
    return np.asarray(ROUNDING * np.maximum(1.0, np.abs(values).sum(axis=0)), dtype=np.float64)
