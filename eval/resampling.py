"""Bootstrap of figures that are no means (AUC, F1, calibration error), over problems.

`eval.intervals` has the intervals of means. Here the problems are drawn as counts, a figure is computed for
all resamples at once, and its interval is the bias-corrected percentile one (Efron and Tibshirani 1993,
section 14.3, with no acceleration): a calibration error is pushed up by sampling, in the sample and once more
in the resample, so that the plain percentiles can lie wholly above the value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eval.intervals import LEVEL
from eval.scores import FloatArray

_CELLS = 1 << 21  # weights held at once (16 MiB)


def problem_weights(problems: int, resamples: int, seed: int, columns: int = 0) -> Iterator[FloatArray]:
    """How often each problem was drawn in each resample, a block of resamples at a time.

    Args:
        problems: how many there are; each resample draws as many, with replacement.
        resamples: how many resamples in all.
        seed: the same seed, number of problems and of columns give the same blocks.
        columns: what the caller spreads a resample over (steps); a block is cut so that it stays small.

    Yields:
        Counts; shape ``(some resamples, problems)``.
    """
    if problems == 0:
        return
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS // max(problems, columns))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(problems, size=(rows, problems)) + np.arange(rows)[:, None] * problems
        counts = np.bincount(drawn.ravel(), minlength=rows * problems)
        yield counts.reshape(rows, problems).astype(np.float64)


def interval(value: float | None, drawn: FloatArray) -> tuple[float, float] | None:
    """95% bias-corrected percentile interval of a figure; None where it, or every resample, has no value.

    Args:
        value: of the sample.
        drawn: of each resample; NaN where it has none; shape ``(resamples,)``.

    Example:
        >>> interval(0.5, np.full(100, 0.5))
        (0.5, 0.5)
        >>> interval(None, np.full(100, 0.5)) is None
        True
    """
    known = drawn[~np.isnan(drawn)]
    if value is None or not len(known):
        return None
    from scipy.special import ndtr, ndtri  # takes a while to import

    below = (np.sum(known < value) + 0.5 * np.sum(known == value)) / len(known)
    shift = 2 * ndtri(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known)))
    tail = ndtri((1 - LEVEL) / 2)
    low, high = np.quantile(known, ndtr([shift + tail, shift - tail]))
    return float(low), float(high)
