"""Step metrics: by hand, against a baseline that must be strong, and with nothing to measure."""

from __future__ import annotations

import json

import numpy as np
import pytest

from eval.steps import METRICS, step_metrics
from eval.within_question import mean_auc, within_question_auc
from shepherd.records import StepRow


def row(labels: list[float | None], question: str = "q") -> StepRow:
    return StepRow(question, tuple(f"step {index}" for index in range(len(labels))), tuple(labels))


def test_by_hand() -> None:
    rows = [row([1, 1, 0]), row([1, 0, 0]), row([1, 1]), row([None, 1, 0], "r")]
    scores = [[0.9, 0.8, 0.3], [0.7, 0.6, 0.4], [0.9, 0.45], [0.1, 0.9, 0.2]]
    found = step_metrics(rows, scores)
    # Good: .9 .8 .7 .9 .45 .9; bad: .3 .6 .4 .2. Only .45 against .6 is in the wrong order.
    assert found.auc.value == pytest.approx(23 / 24)
    # Bad ones from the lowest score: .2 .3 .4 are the first three, .6 the fifth.
    assert found.ap_bad.value == pytest.approx((1 + 1 + 1 + 4 / 5) / 4)
    assert found.balanced_accuracy.value == pytest.approx((5 / 6 + 3 / 4) / 2)
    # Row 0 finds its error; row 1 is late; row 2 sees one that is not there; row 3's first label is unknown.
    assert found.first_error_accuracy.value == pytest.approx(1 / 3)
    # Index 1: good .8 .45 .9 against bad .6; index 2 has no good step, index 0 no bad one.
    assert found.auc_within_position.value == pytest.approx(2 / 3)
    # Question q: right .45 against wrong .3 and .4.
    assert found.auc_within_question.value == 1.0
    # Fewer steps first: the right one has 2, the wrong ones 3.
    assert found.auc_within_question.baseline == 1.0
    assert found.counts == {
        "rows": 4,
        "questions": 2,
        "steps": 11,
        "steps_labelled": 10,
        "steps_bad": 4,
        "soft_labels": 0,
        "rows_first_error_known": 3,
        "questions_right_and_wrong": 1,
    }
    # Index 0: all 3 good; 1: 3 of 4; 2: none of 3.
    assert found.auc.baseline == pytest.approx((3 * 4 + 3 * (0.5 * 1 + 3)) / 24)
    assert found.balanced_accuracy.baseline == pytest.approx((6 / 6 + 3 / 4) / 2)
    # "The third step is the first error, in every row that has one": rows 0 and 2.
    assert found.first_error_accuracy.baseline == pytest.approx(2 / 3)
    assert found.auc_within_position.baseline == 0.5


def test_a_verifier_that_only_counts_steps_is_caught() -> None:
    rng = np.random.default_rng(0)
    rows, scores = [], []
    for question in range(40):
        for _ in range(8):
            length = 6
            first_bad = int(rng.integers(2, 9))
            rows.append(row([float(index < first_bad) for index in range(length)], f"q{question}"))
            scores.append([0.95 - 0.12 * index for index in range(length)])
    found = step_metrics(rows, scores)
    assert found.auc.value is not None
    assert found.auc.value > 0.75
    assert found.auc.value <= (found.auc.baseline or 0) + 1e-12
    assert found.auc_within_position.value == pytest.approx(0.5)
    assert found.auc_within_question.value == pytest.approx(0.5)
    for name in ("ap_bad", "balanced_accuracy", "first_error_accuracy"):
        metric = getattr(found, name)
        assert metric.value <= metric.baseline + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_no_function_of_the_index_beats_the_baseline(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        row([float(rng.random() > 0.2 + 0.1 * index) for index in range(rng.integers(1, 6))])
        for _ in range(30)
    ]
    for _ in range(10):
        by_index = rng.random(6)
        found = step_metrics(rows, [by_index[: len(each.steps)].tolist() for each in rows])
        for name in ("auc", "balanced_accuracy", "first_error_accuracy"):
            metric = getattr(found, name)
            assert metric.value <= metric.baseline + 1e-12, name


def test_soft_labels_are_cut_at_a_half_and_counted() -> None:
    found = step_metrics([row([0.5, 0.25, 1.0])], [[0.8, 0.3, 0.9]])
    assert found.auc.value == 1.0
    assert found.counts["soft_labels"] == 2
    assert found.counts["steps_bad"] == 1


@pytest.mark.parametrize("rows", [[], [row([1, 1])], [row([None, None])], [row([])], [row([0, 0]), row([0])]])
def test_one_class_gives_null_never_a_number(rows: list[StepRow]) -> None:
    found = step_metrics(rows, [[0.7] * len(each.steps) for each in rows])
    for name in METRICS:
        if name != "first_error_accuracy":
            assert getattr(found, name).value is None, name
            assert getattr(found, name).baseline is None, name
    json.dumps(found.to_json(), allow_nan=False)


def test_the_last_label_alone_says_whether_a_solution_is_right() -> None:
    rows = [row([None, 1.0]), row([None, 0.0])]
    found = step_metrics(rows, [[0.9, 0.8], [0.9, 0.1]])
    assert found.auc_within_question.value == 1.0
    assert found.counts["rows_first_error_known"] == 0
    assert found.first_error_accuracy.value is None


def test_verdicts_take_the_place_of_labels() -> None:
    rows = [row([1.0, 1.0]), row([1.0, 1.0]), row([1.0])]
    found = step_metrics(rows, [[0.9, 0.8], [0.9, 0.1], [0.0]], correct=[True, False, None])
    assert found.auc_within_question.value == 1.0


def test_within_question_ignores_how_hard_the_question_is() -> None:
    scores = np.array([0.9, 0.8, 0.2, 0.1])
    right, questions = np.array([False, True, False, True]), np.array([0, 0, 1, 1])
    assert within_question_auc(scores, right, questions).tolist() == [0.0, 0.0]
    assert np.isnan(within_question_auc(scores, np.ones(4, dtype=bool), questions)).all()
    assert mean_auc(np.array([np.nan])) is None


def test_within_question_equals_counting_the_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 5, size=200) / 4, rng.random(200) < 0.4
    questions = rng.integers(0, 12, size=200)
    found = within_question_auc(scores, right, questions)
    for question in range(12):
        mine = questions == question
        above = scores[mine & right][:, None] - scores[mine & ~right]
        assert found[question] == pytest.approx(np.mean((above > 0) + 0.5 * (above == 0)))


def test_intervals_hold_the_value_and_follow_the_seed() -> None:
    rng = np.random.default_rng(0)
    rows = [row([float(rng.random() > 0.3) for _ in range(4)], f"q{index % 15}") for index in range(60)]
    scores = [
        [0.3 * label + 0.7 * rng.random() for label in each.labels if label is not None] for each in rows
    ]
    found = step_metrics(rows, scores, bootstrap=20, seed=1)
    for name in METRICS:
        metric = getattr(found, name)
        assert metric.ci95[0] <= metric.value <= metric.ci95[1], name
    assert step_metrics(rows, scores, bootstrap=20, seed=1) == found
    assert step_metrics(rows, scores).auc.to_json().keys() == {"value", "baseline"}


def test_lengths_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="row 1: expected 2 step scores, received 1"):
        step_metrics([row([1]), row([1, 0])], [[0.5], [0.5]])
    with pytest.raises(ValueError, match="2 rows"):
        step_metrics([row([1]), row([1, 0])], [[0.5]])
