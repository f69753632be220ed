"""Solution metrics against brute force, and the rule that a verifier was made for in reports."""

from itertools import product

import numpy as np
import pytest

from eval.report import evaluate
from eval.solutions import solution_metrics
from shepherd.records import Candidate, Problem, ProblemPool, StepRow


def test_auc_and_its_baseline_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 5, size=40)
    right = [bool(each) for each in rng.random(40) < 0.6 - 0.1 * lengths]
    scores = [rng.random(length).tolist() for length in lengths]
    rows = [
        StepRow(f"q{i % 7}", tuple("s" * length), (1.0,) * int(length)) for i, length in enumerate(lengths)
    ]

    def auc(by: list[float]) -> float:
        pairs = [(by[i], by[j]) for i, j in product(range(40), repeat=2) if right[i] and not right[j]]
        return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)

    found = solution_metrics(rows, scores, right, "last")
    assert found["solution_auc"]["value"] == pytest.approx(auc([each[-1] for each in scores]))
    share = {
        n: float(np.mean([r for r, m in zip(right, lengths, strict=True) if m == n])) for n in set(lengths)
    }
    assert found["solution_auc"]["baseline"] == pytest.approx(auc([share[n] for n in lengths]))
    called = [each[-1] >= 0.5 for each in scores]
    recall = [np.mean([c == w for c, r in zip(called, right, strict=True) if r == w]) for w in (True, False)]
    for w, each in zip((True, False), recall, strict=True):
        assert 0 < each < 1, w
    assert found["solution_balanced_accuracy"]["value"] == pytest.approx(float(np.mean(recall)))
    by_min = solution_metrics(rows, scores, right, "min")["solution_auc"]["value"]
    assert by_min == pytest.approx(auc([min(each) for each in scores]))


def test_one_class_alone_has_no_value() -> None:
    rows = [StepRow("q", ("a",), (1.0,))]
    assert solution_metrics(rows, [[0.5]], [True], "last")["solution_auc"] == {
        "value": None,
        "baseline": None,
    }


def test_a_control_is_ranked_by_the_score_it_was_made_for() -> None:
    """The right candidate ends high and begins low: last takes it, min does not."""
    pool = ProblemPool(
        Problem("p", "2?", "2"), (Candidate("The answer is: 2"), Candidate("The answer is: 3"))
    )
    scores = [[[0.1, 0.9], [0.5, 0.5]]]
    report = evaluate(
        [pool], None, answer_style="auto", extra={"step": scores, "whole": scores},
        extra_rules={"whole": "last"}, headline="last", bootstrap=100,
    )  # fmt: skip
    assert report.rules["step"].value == 0.0
    assert report.rules["whole"].value == 1.0
    assert report.to_json()["headline"] == "last"
