"""95% bootstrap intervals over problems.

A problem is the unit that is resampled: the candidates of one problem are not independent of one another.
Every column is resampled by the same draws, so the paired interval of two columns is that of the column of
their differences. Left out here: tests and corrections for many comparisons.
"""

from __future__ import annotations

import numpy as np

from eval.scores import FloatArray

LEVEL = 0.95
_CELLS = 1 << 21  # resampled counts held at once (16 MiB)


def bootstrap_means(values: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Means of each column over resampled problems.

    Args:
        values: shape ``(problems, columns)``, at least one problem.
        resamples: how many times the problems are drawn again, with replacement.
        seed: of the draws; the same seed and number of problems give the same draws whatever the columns.

    Returns:
        Shape ``(resamples, columns)``.
    """
    problems = len(values)
    if problems == 0:
        raise ValueError("no problems to resample")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    at_once = max(1, _CELLS // problems)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(problems, size=(rows, problems))
        drawn += np.arange(rows)[:, None] * problems
        counts = np.bincount(drawn.ravel(), minlength=rows * problems).reshape(rows, problems)
        means[start : start + rows] = counts.astype(np.float64) @ values / problems
    return means


def percentile_intervals(values: FloatArray, resamples: int = 10_000, seed: int = 0) -> FloatArray:
    """95% percentile interval of the mean of each column, resampling problems.

    Args:
        values: shape ``(problems, columns)``.
        resamples: as in `bootstrap_means`.
        seed: as in `bootstrap_means`.

    Returns:
        Lower and upper bounds; shape ``(columns, 2)``.

    Example:
        >>> percentile_intervals(np.array([[1.0], [1.0], [1.0]]), resamples=100).tolist()
        [[1.0, 1.0]]
    """
    tail = (1 - LEVEL) / 2
    means = bootstrap_means(values, resamples, seed)
    bounds: FloatArray = np.quantile(means, [tail, 1 - tail], axis=0).T
    return bounds
