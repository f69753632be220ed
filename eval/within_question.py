"""Within-question AUC: are right solutions scored above wrong ones *of the same question*?

A score that knows only which questions are hard has a fine AUC over all solutions and picks no better than
chance. Reranking lives on this figure alone.
"""

from __future__ import annotations

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.scores import FloatArray


def within_question_auc(scores: FloatArray, right: BoolArray, questions: IntArray) -> FloatArray:
    """For each question, the fraction of its (right, wrong) pairs of solutions whose right one scores higher.

    Equal scores count one half. Random scores give 0.5 whatever the questions' difficulty.

    Args:
        scores: one a solution, no NaN; shape ``(solutions,)``.
        right: shape ``(solutions,)``.
        questions: number of each solution's question, from 0; shape ``(solutions,)``.

    Returns:
        Shape ``(questions,)``; NaN where a question has no right or no wrong solution.

    Example:
        >>> scores, right = np.array([0.9, 0.4, 0.4]), np.array([True, True, False])
        >>> within_question_auc(scores, right, np.array([0, 0, 0])).tolist()
        [0.75]
    """
    if len(scores) == 0:
        return np.zeros(0)
    order = np.lexsort((scores, questions))
    question, score = questions[order], scores[order]
    # Mann-Whitney: the mean rank of the right ones, where equal scores have the mean of their ranks.
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = (np.diff(question) != 0) | (np.diff(score) != 0)
    group = np.cumsum(opens) - 1
    first, members = np.flatnonzero(opens), np.bincount(group)
    rank = (first + (members - 1) / 2)[group]
    solutions = np.bincount(questions)
    start = np.cumsum(solutions) - solutions
    good = np.bincount(questions, weights=right)
    ranks = np.bincount(question, weights=rank * right[order]) - good * start
    pairs = good * (solutions - good)
    wins = ranks - good * (good - 1) / 2
    found: FloatArray = np.divide(wins, pairs, out=np.full(len(solutions), np.nan), where=pairs > 0)
    return found


def mean_auc(values: FloatArray) -> float | None:
    """Mean over the questions that have a value; None if none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
