"""How well a solution score tells right solutions from wrong ones, over all questions together.

The baseline knows only how many steps a solution has. Over all questions a score that knows which questions
are hard looks good too; what reranking lives on is the within-question AUC of `eval.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eval.scores import Aggregation, solution_scores
from eval.steps import step_metrics
from shepherd.records import StepRow


def solution_metrics(
    rows: Sequence[StepRow], scores: Sequence[Sequence[float]], right: Sequence[bool], how: Aggregation
) -> dict[str, Any]:
    """Judge solution scores by whether the solution is right.

    Args:
        rows: solutions.
        scores: P(step is correct), or the value of the prefix, one a step.
        right: of each solution.
        how: from step scores to the solution score.

    Returns:
        ``solution_auc`` and ``solution_balanced_accuracy`` (right from a score of 0.5 on), each with its
        ``value`` and ``baseline``: the best that the number of steps alone can do on these rows.

    Example:
        >>> rows = [StepRow("q", ("a",), (1.0,)), StepRow("q", ("a",), (0.0,)), StepRow("r", ("a",), (0.0,))]
        >>> solution_metrics(rows, [[0.8], [0.6], [0.1]], [True, False, False], "last")["solution_auc"]
        {'value': 1.0, 'baseline': 0.5}
    """
    # A solution is a row with one label, its verdict, at the last step: whose index is the solution's length.
    ends = [
        StepRow(row.question, row.steps, (*(None for _ in row.steps[1:]), float(verdict)))
        for row, verdict in zip(rows, right, strict=True)
    ]
    whole = solution_scores(scores, how)
    found = step_metrics(
        ends, [[float(score)] * len(row.steps) for score, row in zip(whole, rows, strict=True)]
    )
    return {
        "solution_auc": found.auc.to_json(),
        "solution_balanced_accuracy": found.balanced_accuracy.to_json(),
    }
