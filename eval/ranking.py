"""ROC AUC and average precision of thousands of resamples at once.

scikit-learn sorts the scores anew for every set of weights. Here they are sorted once and each resample is a
row of weights; the numbers are those of ``roc_auc_score`` and ``average_precision_score`` with
``sample_weight`` (tested).
"""

from __future__ import annotations

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.scores import FloatArray


class Ranking:
    """Scored steps, sorted; equal scores are one group.

    Args:
        scores: P(step is correct); shape ``(steps,)``, at least one.
        good: whether the step is right; shape ``(steps,)``.
        problem: number of each step's problem; shape ``(steps,)``.
    """

    def __init__(self, scores: FloatArray, good: BoolArray, problem: IntArray) -> None:
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self._good, self._problem = good[order], problem[order]

    def pairs_won(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of the (good, bad) pairs in the right order, equal scores half; and of all pairs.

        Args:
            weights: how often each problem counts; shape ``(resamples, problems)``.
        """
        good, bad = self._groups(weights)
        below = np.cumsum(bad, axis=1) - bad
        won: FloatArray = (good * (below + bad / 2)).sum(axis=1)
        pairs: FloatArray = good.sum(axis=1) * bad.sum(axis=1)
        return won, pairs

    def auc(self, weights: FloatArray) -> FloatArray:
        """ROC AUC of good against bad steps; NaN where one class is missing; shape ``(resamples,)``."""
        won, pairs = self.pairs_won(weights)
        return _ratio(won, pairs)

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """Average precision with the bad steps as the class to find, lowest scores first; NaN as in `auc`."""
        good, bad = self._groups(weights)
        found, seen = np.cumsum(bad, axis=1), np.cumsum(good + bad, axis=1)
        precision = np.divide(found, seen, out=np.zeros_like(seen), where=seen > 0)
        total = np.where(good.sum(axis=1) > 0, found[:, -1], 0.0)
        return _ratio((bad * precision).sum(axis=1), total)

    def _groups(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight of the good and of the bad steps of each distinct score."""
        each = weights[:, self._problem]
        both = np.add.reduceat(each, self._starts, axis=1)
        good = np.add.reduceat(each * self._good, self._starts, axis=1)
        return good, both - good


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    found: FloatArray = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return found
