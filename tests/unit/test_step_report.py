"""What is fitted on one split is reported on the other; figures against plain computations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from eval.judged import JudgedRow, Scored, split_by_problem
from eval.step_report import FIGURES, evaluate_steps
from eval.steps import step_metrics
from shepherd.records import StepRow


def rows_and_scores(seed: int, problems: int = 60, sharpness: float = 2.0) -> Scored:
    """Rows whose labels are drawn from logits, and scores that are too sure of them."""
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for number in range(problems):
        for _ in range(2):
            size = int(rng.integers(2, 6))
            logits = rng.normal(2, 2, size=size)
            good = rng.random(size) < 1 / (1 + np.exp(-logits))
            row = StepRow(
                f"q{seed}-{number}", tuple(f"step {at}" for at in range(size)), tuple(map(float, good))
            )
            rows.append(JudgedRow(row, bool(good.all())))
            scores.append((1 / (1 + np.exp(-sharpness * logits))).tolist())
    return Scored(rows, scores)


def test_figures_are_of_the_report_rows_and_the_fit_is_not() -> None:
    report, fit_on = rows_and_scores(0), rows_and_scores(1)
    found = evaluate_steps(report, fit_on, bootstrap=100)
    threshold = found.metrics["threshold"].value
    assert threshold is not None
    # The fitted threshold is the best of the other rows, by plain counting over a grid.
    assert f1(fit_on, threshold) >= max(f1(fit_on, each) for each in np.linspace(0, 1, 101)) - 1e-12
    assert found.metrics["f1"].value == pytest.approx(f1(report, threshold))
    labels = [label for row in report.rows for label in row.row.labels]
    flat = [value for each in report.scores for value in each]
    assert found.metrics["auc"].value == pytest.approx(metrics.roc_auc_score(labels, flat))
    assert found.metrics["brier"].value == pytest.approx(np.mean((np.array(flat) - np.array(labels)) ** 2))
    plain = step_metrics([each.row for each in report.rows], report.scores).to_json()
    for name in ("auc", "ap_bad", "balanced_accuracy", "first_error_accuracy"):
        assert found.metrics[name].value == plain[name]["value"]
        assert found.metrics[name].baseline == plain[name]["baseline"]


def f1(scored: Scored, threshold: float) -> float:
    error, clean = [], []
    for judged, scores in zip(scored.rows, scored.scores, strict=True):
        said = next((at for at, score in enumerate(scores) if score < threshold), -1)
        labels = list(judged.row.labels)
        true = labels.index(0.0) if 0.0 in labels else -1
        (clean if true < 0 else error).append(said == true)
    one, other = np.mean(error), np.mean(clean)
    return float(2 * one * other / (one + other)) if one + other else 0.0


def test_the_threshold_and_the_calibration_change_with_the_fit_rows_alone() -> None:
    report = rows_and_scores(0)
    one = evaluate_steps(report, rows_and_scores(1), bootstrap=100)
    other = evaluate_steps(report, rows_and_scores(2), bootstrap=100)
    assert one.metrics["threshold"] != other.metrics["threshold"]
    assert one.calibrations != other.calibrations
    for name in ("auc", "ap_bad", "balanced_accuracy"):
        assert one.metrics[name] == other.metrics[name]
    brier = [each.metrics["brier"] for each in (one, other)]
    assert brier[0].value == brier[1].value
    assert brier[0].baseline != brier[1].baseline  # position's rates are learnt there


def test_a_temperature_is_found_and_mends_other_rows() -> None:
    found = evaluate_steps(rows_and_scores(0, 400), rows_and_scores(1, 400), bootstrap=100).to_json()
    calibration = found["calibration"]
    assert calibration["temperature"] == pytest.approx(2.0, rel=0.15)
    assert calibration["fitted_on"]["problems"] == 400
    before, after = calibration["before"], calibration["after"]["temperature"]
    assert after["nll"]["value"] < before["nll"]["value"]
    assert after["ece"]["value"] < before["ece"]["value"]
    assert before["brier"]["value"] == found["brier"]["value"]
    assert before["ece"]["value"] == found["ece"]["value"]


def test_intervals_hold_their_value_and_follow_the_seed() -> None:
    report, fit_on = rows_and_scores(0), rows_and_scores(1)
    found = evaluate_steps(report, fit_on, bootstrap=200, seed=5)
    for name, metric in found.metrics.items():
        assert metric.value is not None
        low, high = metric.ci95 or (1, 0)
        assert low <= metric.value <= high, name
    assert evaluate_steps(report, fit_on, bootstrap=200, seed=5) == found
    assert (
        evaluate_steps(report, fit_on, bootstrap=200, seed=6).metrics["auc"].ci95 != found.metrics["auc"].ci95
    )


def test_nothing_to_fit_on_is_said_and_half_is_taken() -> None:
    found = evaluate_steps(rows_and_scores(0), Scored([], []), bootstrap=100).to_json()
    assert found["threshold"] == {"value": 0.5, "ci95": None, "baseline": None}
    assert found["split"]["threshold_fitted"] is False
    assert found["calibration"] is None
    assert found["brier"]["baseline"] is None
    assert found["fit_sweep"] == []


def test_a_given_threshold_is_not_fitted() -> None:
    report, fit_on = rows_and_scores(0), rows_and_scores(1)
    found = evaluate_steps(report, fit_on, threshold=0.9, bootstrap=100).to_json()
    assert found["threshold"] == {"value": 0.9, "ci95": None, "baseline": None}
    assert found["f1"]["value"] == pytest.approx(f1(report, 0.9))
    assert found["split"]["threshold_fitted"] is False
    assert found["calibration"] is not None


def test_rows_of_one_class_give_nulls_and_never_numbers() -> None:
    clean = [JudgedRow(StepRow(f"q{at}", ("a", "b"), (1.0, 1.0))) for at in range(4)]
    scored = Scored(clean, [[0.9, 0.8]] * 4)
    found = evaluate_steps(scored, scored, bootstrap=100).to_json()
    for name in ("f1", "acc_error", "auc", "ap_bad", "balanced_accuracy"):
        assert found[name] == {"value": None, "ci95": None, "baseline": None}, name
    assert found["acc_clean"]["value"] == 1
    assert found["calibration"] is None
    json.dumps(found, allow_nan=False)


def test_rows_without_labels_at_all_are_no_crash() -> None:
    rows = [JudgedRow(StepRow("q", ("a",), (None,)))]
    found = evaluate_steps(Scored(rows, [[0.5]]), Scored(rows, [[0.5]]), bootstrap=100).to_json()
    assert [found[name]["value"] for name in FIGURES if name != "threshold"] == [None] * 8
    assert found["reliability"] == []
    json.dumps(found, allow_nan=False)


def test_a_split_keeps_problems_whole_and_does_not_know_their_order() -> None:
    rows = rows_and_scores(0).rows
    halves = split_by_problem(rows, 0.5, seed=3)
    sides = [{rows[at].row.question for at in side} for side in halves]
    assert not sides[0] & sides[1]
    assert len(sides[0]) == len(sides[1]) == 30
    assert sorted([*halves.fit, *halves.report]) == list(range(len(rows)))
    turned = split_by_problem(rows[::-1], 0.5, seed=3)
    assert {rows[::-1][at].row.question for at in turned.fit} == sides[0]
    assert split_by_problem(rows, 0.5, seed=4) != halves
    assert split_by_problem(rows[:2], 0.5, 0).fit == []  # one problem: it is reported on
    assert len(split_by_problem(rows[:4], 0.99, 0).report) == 2


def test_a_long_sweep_is_thinned_to_its_ends() -> None:
    found = evaluate_steps(rows_and_scores(0, 300), rows_and_scores(1), bootstrap=100)
    points = found.to_json()["sweep"]
    assert len(found.sweep) > len(points) == 201
    assert points[0]["threshold"] == 0
    assert points[-1]["threshold"] == found.sweep[-1].threshold
    assert points[0]["acc_clean"] == 1
