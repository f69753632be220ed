"""The order in which a training takes its rows: fixed before the first step, by seed."""

from __future__ import annotations

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
    batches = []
    for start in range(0, wanted, batch_size * _WINDOW_BATCHES):
        window = order[start : start + batch_size * _WINDOW_BATCHES]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    whole = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]
    return np.concatenate([*(whole[i] for i in rng.permutation(len(whole))), *rest])
