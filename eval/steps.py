"""How good the step scores are, each figure beside what the step's index alone would give.

Step labels lean on position: errors come late, and after the first one everything is wrong. A verifier that
has learnt only where it stands in a solution therefore has a fine AUC and reranks no better than chance. So
each step metric has a ``baseline``: the best that any function of the index can do *on these very rows* (it
is fitted on the labels that it is judged by, which flatters the baseline, never the verifier). Two figures
cannot be had by position at all: ``auc_within_position`` compares steps at one index only,
``auc_within_question`` compares right and wrong solutions of one question.

Where a figure has no value (one class only), it is None: never a fake 0 or 1. Here a step is judged at 0.5;
thresholds that are fitted on another split are in `eval.first_error`, calibration in `eval.calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.first_error import THRESHOLD as THRESHOLD
from eval.first_error import first_bad, first_below
from eval.ranking import Ranking
from eval.resampling import interval, problem_weights
from eval.scores import Aggregation, FloatArray, solution_scores
from eval.within_question import within_question_auc
from shepherd.records import StepRow

METRICS = (
    "auc",
    "ap_bad",
    "balanced_accuracy",
    "first_error_accuracy",
    "auc_within_position",
    "auc_within_question",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure and its baseline; None where there is nothing to compare.

    Attributes:
        value: from the step scores.
        baseline: from position (step metrics), or from having fewer steps (``auc_within_question``).
        ci95: of the value, by bootstrap over questions, where it was asked for.
    """

    value: float | None
    baseline: float | None
    ci95: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The metric as ``eval-steps`` and ``metrics.jsonl`` have it."""
        found: dict[str, Any] = {"value": self.value, "baseline": self.baseline}
        return found if self.ci95 is None else {**found, "ci95": list(self.ci95)}


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Step metrics of one verifier on labelled rows.

    Attributes:
        auc: ROC AUC of good against bad steps.
        ap_bad: average precision with the bad steps as the class to find.
        balanced_accuracy: mean of the two classes' recall, a step being right from a score of 0.5 on.
        first_error_accuracy: rows whose first step below 0.5 is the first bad one, or that have neither.
        auc_within_position: fraction of (good, bad) pairs of steps *at one index* in the right order.
        auc_within_question: fraction of (right, wrong) pairs of solutions of one question in the right order,
            averaged over the questions that have both.
        counts: what went in and what was left out.
    """

    auc: Metric
    ap_bad: Metric
    balanced_accuracy: Metric
    first_error_accuracy: Metric
    auc_within_position: Metric
    auc_within_question: Metric
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Each metric with ``value`` and ``baseline`` (null where it has none), and ``counts``."""
        metrics: dict[str, Metric] = {name: getattr(self, name) for name in METRICS}
        return {**{name: each.to_json() for name, each in metrics.items()}, "counts": dict(self.counts)}


@dataclass(frozen=True, slots=True)
class _Table:
    """Labelled steps, rows whose first error is known, and questions, as columns."""

    score: FloatArray
    good: BoolArray
    index: IntArray
    step_question: IntArray
    first_found: IntArray  # index of the first step below the threshold; the row's length if there is none
    first_bad: IntArray
    length: IntArray
    row_question: IntArray
    within: FloatArray  # one a question, NaN where it has not both
    within_by_length: FloatArray
    questions: int


def step_metrics(
    rows: Sequence[StepRow],
    scores: Sequence[Sequence[float]],
    *,
    correct: Sequence[bool | None] | None = None,
    how: Aggregation = "min",
    bootstrap: int = 0,
    seed: int = 0,
) -> StepMetrics:
    """Judge step scores by step labels.

    Null labels are skipped. Soft labels are good from 0.5 on, and counted. The first error of a row is
    known if no null stands before it (or anywhere, in a row without a bad step).

    Args:
        rows: labelled solutions; rows with one question text are solutions of one question.
        scores: P(step is correct), one a step, in the rows' order.
        correct: whether each row is a right solution (None: unknown); if not given, a row is right if it has
            labels and all of them are good.
        how: from step scores to the solution score of ``auc_within_question``.
        bootstrap: resamples of the questions for 95% intervals (see `eval.resampling`); 0 for none.
        seed: of the resampling.

    Returns:
        The metrics.

    Example:
        >>> rows = [StepRow("q", ("a", "b"), (1.0, 0.0)), StepRow("q", ("a", "b"), (1.0, 1.0))]
        >>> found = step_metrics(rows, [[0.9, 0.2], [0.8, 0.7]])
        >>> found.auc.value, round(found.auc.baseline, 3), found.auc_within_question.value
        (1.0, 0.833, 1.0)
    """
    if len(scores) != len(rows) or (correct is not None and len(correct) != len(rows)):
        raise ValueError(f"expected one list of scores (and one verdict) for each of {len(rows)} rows")
    for number, (row, mine) in enumerate(zip(rows, scores, strict=True)):
        if len(mine) != len(row.steps):
            raise ValueError(f"row {number}: expected {len(row.steps)} step scores, received {len(mine)}")
    verdicts = [_is_right(row) for row in rows] if correct is None else correct
    table = _table(rows, scores, verdicts, how)
    values, baselines = _values(table), _baselines(table)
    bounds = _intervals(table, values, bootstrap, seed) if bootstrap else {}
    metrics = {name: Metric(values[name], baselines[name], bounds.get(name)) for name in METRICS}
    labels = [label for row in rows for label in row.labels]
    return StepMetrics(
        **metrics,
        counts={
            "rows": len(rows),
            "questions": table.questions,
            "steps": len(labels),
            "steps_labelled": len(table.good),
            "steps_bad": int((~table.good).sum()),
            "soft_labels": sum(label not in (None, 0.0, 1.0) for label in labels),
            "rows_first_error_known": len(table.length),
            "questions_right_and_wrong": int((~np.isnan(table.within)).sum()),
        },
    )


def _is_right(row: StepRow) -> bool | None:
    labels = [label for label in row.labels if label is not None]
    return all(label >= THRESHOLD for label in labels) if labels else None


def _table(
    rows: Sequence[StepRow],
    scores: Sequence[Sequence[float]],
    verdicts: Sequence[bool | None],
    how: Aggregation,
) -> _Table:
    numbers: dict[str, int] = {}
    question = [numbers.setdefault(row.question, len(numbers)) for row in rows]
    steps = [
        (mine[index], label >= THRESHOLD, index, question[number])
        for number, (row, mine) in enumerate(zip(rows, scores, strict=True))
        for index, label in enumerate(row.labels)
        if label is not None
    ]
    firsts = []
    for number, (row, mine) in enumerate(zip(rows, scores, strict=True)):
        bad = first_bad(row.labels)
        if bad is not None:
            firsts.append((first_below(mine, THRESHOLD), bad, len(row.labels), question[number]))
    judged = [number for number, verdict in enumerate(verdicts) if verdict is not None]
    right = np.array([verdicts[number] for number in judged], dtype=bool)
    of = np.array([question[number] for number in judged], dtype=np.int64)
    solution = solution_scores([scores[number] for number in judged], how)
    fewer = -np.array([len(rows[number].steps) for number in judged], dtype=np.float64)
    first = np.array(firsts, dtype=np.int64).reshape(-1, 4)
    return _Table(
        score=np.array([each[0] for each in steps], dtype=np.float64),
        good=np.array([each[1] for each in steps], dtype=bool),
        index=np.array([each[2] for each in steps], dtype=np.int64),
        step_question=np.array([each[3] for each in steps], dtype=np.int64),
        first_found=first[:, 0],
        first_bad=first[:, 1],
        length=first[:, 2],
        row_question=first[:, 3],
        within=_padded(within_question_auc(solution, right, of), len(numbers)),
        within_by_length=_padded(within_question_auc(fewer, right, of), len(numbers)),
        questions=len(numbers),
    )


def _padded(values: FloatArray, length: int) -> FloatArray:
    return np.append(values, np.full(length - len(values), np.nan))


def _values(table: _Table) -> dict[str, float | None]:
    """All figures."""
    return {
        **_step_figures(table.score, table.score >= THRESHOLD, table.good),
        "first_error_accuracy": _mean(table.first_found == table.first_bad),
        "auc_within_position": _within_position(table),
        "auc_within_question": _mean(table.within),
    }


def _baselines(table: _Table) -> dict[str, float | None]:
    """The best that the index alone can do on these rows."""
    rate = position_rates(table.good, table.index, table.index)
    # Good where the index is likelier among good steps than among bad ones: no other rule on the index has a
    # higher balanced accuracy.
    likely = rate >= np.mean(table.good) if len(rate) else rate > 0
    # A rule on the index alone calls the same index the first error in every row that is long enough.
    guesses = range(int(table.length.max(initial=0)) + 1)
    exact = [
        np.mean(np.minimum(guess, table.length) == table.first_bad) for guess in guesses if len(table.length)
    ]
    within = _within_position(table)
    return {
        **_step_figures(rate, likely, table.good),
        "first_error_accuracy": float(max(exact)) if exact else None,
        "auc_within_position": None if within is None else 0.5,
        "auc_within_question": _mean(table.within_by_length),
    }


def position_rates(good: BoolArray, index: IntArray, asked: IntArray) -> FloatArray:
    """What a forecaster who knows a step's index alone says: the share of good steps at that index.

    Args:
        good: of the steps it learns from; shape ``(steps,)``.
        index: of those steps in their solutions; shape ``(steps,)``.
        asked: indices it is asked about; one that it has not seen gets the share over all.

    Returns:
        Shape of `asked`; NaN where it has seen nothing at all.

    Example:
        >>> good, index = np.array([True, True, False, False]), np.array([0, 0, 1, 1])
        >>> position_rates(good, index, np.array([1, 0, 7])).tolist()
        [0.0, 1.0, 0.5]
    """
    size = int(max(index.max(initial=0), asked.max(initial=0))) + 1
    seen = np.bincount(index, minlength=size)
    overall = float(good.mean()) if len(good) else np.nan
    rates = np.divide(
        np.bincount(index, weights=good, minlength=size), seen, out=np.full(size, overall), where=seen > 0
    )
    found: FloatArray = rates[asked]
    return found


def _step_figures(score: FloatArray, called: BoolArray, good: BoolArray) -> dict[str, float | None]:
    if good.all() or not good.any():
        return {"auc": None, "ap_bad": None, "balanced_accuracy": None}
    from sklearn import metrics  # takes a second to import

    return {
        "auc": float(metrics.roc_auc_score(good, score)),
        "ap_bad": float(metrics.average_precision_score(~good, -score)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(good, called)),
    }


def _within_position(table: _Table) -> float | None:
    """AUC inside each index, weighted by its (good, bad) pairs."""
    found = _within_positions(_ranking_by_index(table), np.ones((1, table.questions)))[0]
    return None if np.isnan(found) else float(found)


def _ranking_by_index(table: _Table) -> list[Ranking]:
    indices = [table.index == index for index in np.unique(table.index)]
    return [Ranking(table.score[here], table.good[here], table.step_question[here]) for here in indices]


def _within_positions(rankings: Sequence[Ranking], weights: FloatArray) -> FloatArray:
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for ranking in rankings:
        here, of = ranking.pairs_won(weights)
        won, pairs = won + here, pairs + of
    return _share(won, pairs)


def _mean(values: FloatArray | BoolArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _intervals(
    table: _Table, values: Mapping[str, float | None], resamples: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    """Intervals over resampled questions; a resample without both classes is passed over."""
    if not len(table.good):
        return {}
    ranking, by_index = Ranking(table.score, table.good, table.step_question), _ranking_by_index(table)
    blocks: dict[str, list[FloatArray]] = {name: [] for name in METRICS}
    for weights in problem_weights(table.questions, resamples, seed, len(table.good)):
        blocks["auc"].append(ranking.auc(weights))
        blocks["ap_bad"].append(ranking.average_precision(weights))
        blocks["balanced_accuracy"].append(_balanced(table, weights))
        exact = (table.first_found == table.first_bad).astype(np.float64)
        blocks["first_error_accuracy"].append(_mean_of(exact, table.row_question, weights))
        blocks["auc_within_position"].append(_within_positions(by_index, weights))
        known = ~np.isnan(table.within)
        within = _mean_of(table.within[known], np.flatnonzero(known), weights)
        blocks["auc_within_question"].append(within)
    return {name: interval(values[name], np.concatenate(drawn)) for name, drawn in blocks.items()}


def _balanced(table: _Table, weights: FloatArray) -> FloatArray:
    """Balanced accuracy of each resample."""
    hit = (table.score >= THRESHOLD) == table.good
    recalls = [
        _mean_of(hit[kind].astype(np.float64), table.step_question[kind], weights)
        for kind in (table.good, ~table.good)
    ]
    return (recalls[0] + recalls[1]) / 2


def _mean_of(values: FloatArray, question: IntArray, weights: FloatArray) -> FloatArray:
    """Mean of what belongs to questions under each resample's weights; NaN where nothing is drawn."""
    questions = weights.shape[1]
    total = weights @ np.bincount(question, weights=values, minlength=questions)
    return _share(total, weights @ np.bincount(question, minlength=questions))


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    found: FloatArray = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return found
