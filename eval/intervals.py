"""95% bootstrap intervals over problems.

A problem is the unit that is resampled: the candidates of one problem are not independent of one another.
Every column is resampled by the same draws, so the paired interval of two columns is that of the column of
their differences.

The intervals are `scipy.stats.bootstrap`'s BCa (Efron, "Better bootstrap confidence intervals", 1987). What
scipy is given is not the table, whose columns it would gather one by one: 1.7 billion numbers for 1,319
problems, 132 columns and 10,000 resamples. It is given the problems' numbers, 0 to n - 1, and a statistic
that turns drawn numbers into how often each problem was drawn, and these counts into the means of all columns
by one matrix product. Every column has the same resamples, at a hundredth of the cost.

Two things are added to it. Where BCa has no value (a constant column, a resampled mean that is never on one
side of the mean) the percentile interval of the same resamples takes its place. And the level is widened for
the number of problems, as Hesterberg advises ("What teachers should know about the bootstrap", arXiv
1411.5279): a bootstrap interval is too narrow by √((n - 1) / n), and by the normal quantile where Student's
belongs. At 50 problems 95% becomes 95.8%, at 1,319 it stays 95.0%. What they cover is in docs/results.md.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from eval.scores import FloatArray

LEVEL = 0.95
_CELLS = 1 << 21  # resampled counts held at once (16 MiB)
_DECIMALS = 12
"""Means are rounded to this: sums of the same numbers in another order are then the same mean, which decides
what share of the resamples lies below the mean, and whether a column is constant."""


def bootstrap_means(values: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Means of each column over resampled problems.

    Args:
        values: shape ``(problems, columns)``, at least one problem.
        resamples: how many times the problems are drawn again, with replacement.
        seed: of the draws; the same seed and number of problems give the same draws whatever the columns.

    Returns:
        Shape ``(resamples, columns)``.
    """
    means: FloatArray = _resampled(values, resamples, seed, LEVEL).bootstrap_distribution.T
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
    return _percentiles(bootstrap_means(values, resamples, seed), LEVEL)


def bootstrap_intervals(values: FloatArray, resamples: int = 10_000, seed: int = 0) -> FloatArray:
    """95% interval of the mean of each column, resampling problems: BCa, or percentile where it has no value.

    Args:
        values: shape ``(problems, columns)``, finite.
        resamples: as in `bootstrap_means`.
        seed: as in `bootstrap_means`.

    Returns:
        Lower and upper bounds; shape ``(columns, 2)``. One problem has no spread: its bounds are its value.

    Example:
        >>> values = np.repeat([[0.0], [1.0]], [36, 4], axis=0)
        >>> percentile_intervals(values).tolist()
        [[0.025, 0.2]]
        >>> bootstrap_intervals(values).round(3).tolist()  # room is made for the long tail to the right
        [[0.025, 0.225]]
    """
    if len(values) < 2:
        return percentile_intervals(values, resamples, seed)
    level = widened_level(len(values))
    found = _resampled(values, resamples, seed, level, "BCa")
    bounds: FloatArray = np.stack(found.confidence_interval, axis=-1)
    missing = ~np.isfinite(bounds).all(axis=1)
    bounds[missing] = _percentiles(found.bootstrap_distribution[missing].T, level)
    mean = values.mean(axis=0)[:, None]
    return np.where(np.abs(bounds - mean) < 10**-_DECIMALS, mean, bounds)  # so that it holds its own mean


def widened_level(problems: int, level: float = LEVEL) -> float:
    """The nominal level at which a bootstrap interval over so few problems covers ``level``.

    Example:
        >>> [round(widened_level(problems), 4) for problems in (10, 50, 1319)]
        [0.9829, 0.9576, 0.9503]
    """
    from scipy.special import ndtr, stdtrit  # a tenth of a second, which `import eval` must not take

    student = stdtrit(problems - 1, (1 + level) / 2)
    return float(2 * ndtr(np.sqrt(problems / (problems - 1)) * student) - 1)


def _resampled(
    values: FloatArray, resamples: int, seed: int, level: float, method: str = "percentile"
) -> Any:
    """The result of `scipy.stats.bootstrap` for the means of all columns."""
    from scipy.stats import DegenerateDataWarning, bootstrap

    problems = len(values)
    if problems == 0:
        raise ValueError("no problems to resample")
    if problems == 1:  # scipy refuses what cannot vary
        values, problems = np.repeat(values, 2, axis=0), 2

    def means(drawn: np.ndarray[Any, np.dtype[np.int64]], axis: int) -> FloatArray:
        """The means over the drawn problems, on the last axis of ``drawn``; the columns come first."""
        assert axis == -1
        rows = drawn.reshape(-1, drawn.shape[-1])
        cells = rows + np.arange(len(rows))[:, None] * problems
        counts = np.bincount(cells.ravel(), minlength=len(rows) * problems).reshape(len(rows), problems)
        found = (counts.astype(np.float64) @ values / drawn.shape[-1]).round(_DECIMALS)
        of_columns: FloatArray = found.T.reshape(-1, *drawn.shape[:-1])
        return of_columns

    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        return bootstrap(
            (np.arange(problems),),
            means,
            n_resamples=resamples,
            batch=max(1, _CELLS // problems),
            vectorized=True,
            axis=-1,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        )


def _percentiles(means: FloatArray, level: float) -> FloatArray:
    tail = (1 - level) / 2
    bounds: FloatArray = np.quantile(means, [tail, 1 - tail], axis=0).T
    return bounds
