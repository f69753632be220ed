"""The order in which a training takes its rows: fixed before the first step, by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WINDOW_BATCHES = 64


def make_order(lengths: NDArray[np.int64], *, epochs: float, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Row indices of the whole run, in order; each `batch_size` of them are one forward pass.

    Rows are shuffled an epoch, sorted by length inside windows (little padding), cut to batches and the
    batches shuffled again; a last, smaller batch stays last.

    Example:
        >>> make_order(np.array([5, 9, 5, 9, 7]), epochs=1, batch_size=2, seed=0).tolist()
        [4, 3, 0, 2, 1]
    """
    rng = np.random.default_rng([seed, 0x5F7])
    wanted = max(1, round(epochs * len(lengths)))
    rounds = -(-wanted // len(lengths))
    order = np.concatenate([rng.permutation(len(lengths)) for _ in range(rounds)])[:wanted]
    return _in_batches(order, lengths, batch_size, rng)


def weighted_order(
    lengths: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    epochs: float,
    batch_size: int,
    seed: int,
    wanted: int | None = None,
) -> NDArray[np.int64]:
    """`make_order` for rows with weights: a row of weight w is taken w times an epoch in expectation.

    An epoch holds the whole part of w always, and once more with the chance of the fraction, drawn anew each
    epoch. With weights of 1 it is `make_order`.

    Args:
        lengths: tokens a row, shape ``(rows,)``.
        weights: >= 0 and not all 0, shape ``(rows,)``.
        epochs: of the whole run.
        batch_size: rows in one forward pass.
        seed: of fractions and order.
        wanted: so many rows in the place of `epochs`: as many epochs as that takes, the last one cut; then
            weights all below 1 are scaled up to a largest one of 1.

    Example:
        >>> weights = np.array([2.0, 0.0, 1.0])
        >>> weighted_order(np.array([5, 9, 5]), weights, epochs=2, batch_size=2, seed=0).tolist()
        [0, 0, 0, 2, 0, 2]
    """
    if not (weights >= 0).all() or not np.isfinite(weights).all() or not weights.any():
        raise ValueError("weights must be finite, at least 0 and not all 0")
    if wanted is not None:
        weights = weights / min(1.0, float(weights.max()))
    rng, fractions = np.random.default_rng([seed, 0x5F7]), np.random.default_rng([seed, 0xF7AC])
    parts: list[NDArray[np.int64]] = []
    taken = 0
    while len(parts) < np.ceil(epochs) if wanted is None else taken < wanted:
        times = np.floor(weights) + (fractions.random(len(weights)) < weights % 1)
        parts.append(rng.permutation(np.repeat(np.arange(len(weights)), times.astype(np.int64))))
        taken += len(parts[-1])
    if not taken:
        parts.append(np.array([np.argmax(weights)]))  # light rows, and none of them drawn
        taken = 1
    if wanted is None:
        wanted = max(1, round(epochs / np.ceil(epochs) * taken))
    return _in_batches(np.concatenate(parts)[:wanted], lengths, batch_size, rng)


def sums_of_steps(numbers: Sequence[int], rows_a_step: int) -> list[int]:
    """Sum of each optimizer step, of the numbers of the rows (their tokens, for instance) in their order.

    Example:
        >>> sums_of_steps([3, 4, 5, 6, 7], 2)
        [7, 11, 7]
    """
    return [sum(numbers[at : at + rows_a_step]) for at in range(0, len(numbers), rows_a_step)]


def _in_batches(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Cut to batches of like length inside windows, and shuffle the batches; a smaller one stays last."""
    batches = []
    for start in range(0, len(order), batch_size * _WINDOW_BATCHES):
        window = order[start : start + batch_size * _WINDOW_BATCHES]
        # By length alone, the copies of a row, of several epochs or by its weight, would share a batch.
        window = window[np.lexsort((lengths[window], _times_before(window)))]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    whole = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    return np.concatenate([*(whole[i] for i in rng.permutation(len(whole))), *rest])


def _times_before(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each row stands further left; ``[4, 7, 4, 4]`` gives ``[0, 0, 1, 2]``."""
    seen: Counter[int] = Counter()
    times = np.zeros(len(rows), dtype=np.int64)
    for place, row in enumerate(rows.tolist()):
        times[place] = seen[row]
        seen[row] += 1
    return times
