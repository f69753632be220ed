"""`evaluate`: policies, keys, headline n, pools of different sizes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from eval.report import RerankReport, evaluate
from eval.significance import compare_paired
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool


def pool(
    name: str, answers: Sequence[int | None], gold: str | None = "1", logprob: float | None = None
) -> ProblemPool:
    """Texts of two steps each; longer for larger answers."""
    texts = [
        "no idea" if answer is None else f"{'x' * answer}\nThe answer is: {answer}" for answer in answers
    ]
    return ProblemPool(Problem(name, "?", gold), tuple(Candidate(text, logprob=logprob) for text in texts))


def measure(pools: Sequence[ProblemPool], scores: object = None, **options: object) -> RerankReport:
    settings = {"answer_style": "shepherd", "bootstrap": 200, **options}
    return evaluate(pools, scores, **settings)  # type: ignore[arg-type]


BASELINES = ["majority", "shortest", "random"]
SCORES = ["min", "softmin", "prod", "last", "mean"]
WEIGHTED = [f"weighted_{how}" for how in SCORES]
ALL_RULES = ["majority", *SCORES, *WEIGHTED, "shuffled", "loglik", "shortest", "random"]


def test_a_planted_verifier_beats_a_misled_majority() -> None:
    pools = [pool(f"p{index}", [2, 2, 1, 3]) for index in range(10)]
    scores = [[[0.9, 0.1], [0.9, 0.2], [0.9, 0.8], [0.2, 0.9]]] * 10
    found = measure(pools, scores)
    assert (found.n, found.problems, found.pass_at_1, found.pass_at_n) == (4, 10, 0.25, 1.0)
    assert found.rules["majority"].value == 0.0
    assert found.rules["min"].value == 1.0
    assert found.paired["min"].value == 1.0
    assert found.paired["min"].ci95 == (1.0, 1.0)
    assert found.rules["last"].value == 0.0  # the last step of the third wrong one scores highest
    assert found.rules["weighted_min"].value == 1.0
    assert found.rules["weighted_mean"].value == 0.0
    pairs = {"min": 1.0, "softmin": 1.0, "prod": 1.0, "last": pytest.approx(2 / 3), "mean": 1.0}
    assert found.auc_within_question == {**pairs, "shortest": 1.0}
    assert found.judged["min"].verdict == "better than majority"
    assert found.judged["last"].verdict.startswith("no difference shown; the two agree on every problem")


def test_the_keys_are_those_that_are_promised() -> None:
    pools = [pool(f"p{index}", [1, 2, 1, None, 3, 1], logprob=-0.5) for index in range(3)]
    scores = [[[0.5, 0.6]] * 6] * 3
    report = measure(pools, scores, extra={"shuffled": scores}).to_json()
    assert list(report) == [
        *("n", "headline", "problems", "pass_at_1", "pass_at_n", "rules", "paired", "curves"),
        *("minus_headline", "policies", "auc_within_question", "settings"),
    ]
    assert list(report["rules"]) == ALL_RULES
    assert list(report["paired"]) == [f"{rule}_minus_majority" for rule in ALL_RULES if rule != "majority"]
    assert list(report["curves"]) == ["pass_at_n", *ALL_RULES]
    for points in report["curves"].values():
        assert [point["n"] for point in points] == [1, 2, 4, 6]
        assert all(point["ci95"][0] <= point["accuracy"] <= point["ci95"][1] for point in points)
    assert set(report["rules"]["min"]) == {"accuracy", "ci95", "minus_majority"}
    assert set(report["paired"]["min_minus_majority"]) == {"difference", "ci95"}
    # Only what was drawn has a standard error: weighted votes between one and all candidates.
    with_error = {(rule, p["n"]) for rule, points in report["curves"].items() for p in points if "se" in p}
    assert with_error == {(rule, n) for rule in ALL_RULES if rule.startswith("weighted") for n in (2, 4)}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_without_a_verifier_only_the_baselines_are_left() -> None:
    assert list(measure([pool("p", [1, 2])]).rules) == BASELINES
    assert list(measure([pool("p", [1, 2], logprob=-1.0)]).rules) == [
        "majority",
        "loglik",
        "shortest",
        "random",
    ]
    one_without = [pool("p", [1, 2], logprob=-1.0), pool("q", [1, 2, 3])]
    assert list(measure(one_without).rules) == BASELINES


def test_a_calibration_adds_the_rules_in_which_it_can_matter() -> None:
    """A flat calibration makes every vote count the same: the weighted vote becomes majority's."""
    pools = [pool(f"p{index}", [2, 2, 1, 1, 1]) for index in range(3)]
    scores = [[[0.9, 0.8], [0.8, 0.9], [0.1, 0.2], [0.2, 0.1], [0.3, 0.3]]] * 3
    flat = measure(pools, scores, calibration=lambda each: np.full_like(each, 0.5))
    assert flat.rules["weighted_min"].value == 0.0
    assert flat.rules["weighted_calibrated_min"].value == flat.rules["majority"].value == 1.0
    assert [rule for rule in flat.rules if rule.startswith("calibrated")] == [
        "calibrated_softmin", "calibrated_prod", "calibrated_mean"
    ]  # fmt: skip
    plain = measure(pools, scores)
    assert {rule: each for rule, each in flat.rules.items() if "calibrated" not in rule} == plain.rules
    assert (flat.settings["calibrated"], plain.settings["calibrated"]) == (True, False)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        measure(pools, scores, calibration=lambda each: each + 1)
    alone = measure(pools, calibration=lambda each: each)  # no scores, nothing to calibrate
    assert list(alone.rules) == BASELINES


def test_a_control_is_compared_with_the_headline_rule_and_with_majority() -> None:
    pools = [pool(f"p{index}", [2, 2, 1]) for index in range(12)]
    good, bad = [[[0.1], [0.1], [0.9]]] * 12, [[[0.9], [0.1], [0.1]]] * 12
    found = measure(pools, good, extra={"shuffled": bad})
    against = found.minus_headline["shuffled"]
    assert (against.found.value, against.found.ci95, against.verdict) == (
        -1.0,
        (-1.0, -1.0),
        "worse than min",
    )
    assert found.judged["min"].verdict == "better than majority"
    assert measure(pools, None, extra={"shuffled": bad}).minus_headline == {}


def test_two_reports_are_compared_problem_by_problem() -> None:
    one = measure([pool(f"p{index}", [1, 1, 2]) for index in range(12)])
    order = list(range(12))[::-1]
    other = measure([pool(f"p{index}", [2, 2, 1] if index < 3 else [1, 1, 2]) for index in order])
    found = compare_paired(one.of_problem("majority"), other.of_problem("majority"))
    assert (found.value, found.problems_differing) == (0.25, 3)
    assert found.of_problem.tolist() == [1.0] * 3 + [0.0] * 9
    helped = compare_paired(other.gain_of_problem("shortest"), one.gain_of_problem("shortest"))
    assert (helped.value, helped.problems_differing) == (0.25, 3)  # where majority fails, shortest does not
    pooled = measure([pool("elsewhere", [1, 2])])
    with pytest.raises(ShepherdError, match="not the same problems"):
        compare_paired(one.of_problem("majority"), pooled.of_problem("majority"))


def test_what_subsets_were_drawn_is_known_of_weighted_votes_below_the_pool() -> None:
    pools = [pool("a", [1, 2, 1, 3]), pool("b", [2, 2, 3, 3])]
    found = measure(pools, [[[0.5], [0.6], [0.1], [0.9]]] * 2, n=2, subsets=30)
    assert found.subsets["weighted_min"].tolist() == [30, 0]  # nobody is right in b, whatever is drawn
    assert found.of_problem("min").subsets is None
    assert measure(pools, [[[0.5], [0.6], [0.1], [0.9]]] * 2).subsets["weighted_min"].tolist() == [0, 0]


def test_policies_are_counted() -> None:
    pools = [
        pool("a", [1, 2, None]),
        pool("b", [None, None, None]),
        pool("c", [1, 1, 1], gold=None),
        pool("d", [1, 1, 1], gold=" "),
        ProblemPool(Problem("e", "?", "1"), (Candidate(""), Candidate("The answer is: 1"), Candidate(""))),
    ]
    found = measure(pools)
    assert found.problems == 3
    assert found.ids == ["a", "b", "e"]
    assert found.policies == {
        "candidates": 15,
        "candidates_smallest_pool": 3,
        "candidates_largest_pool": 3,
        "candidates_without_answer": 6,
        "problems_without_any_answer": 1,
        "problems_without_gold": 2,
        "solutions_without_steps": 2,
        "duplicate_texts": 7,
        "ties": {"majority": 1, "shortest": 0},
    }
    # a: tied with one other; b: wrong; e: the only answer.
    assert found.per_problem["majority"].tolist() == [0.5, 0.0, 1.0]
    assert found.rules["random"].value == pytest.approx(0.5)


def test_a_solution_without_steps_scores_zero() -> None:
    found = measure([pool("p", [1, 2])], [[[], [0.0, 0.1]]])
    assert found.rules["min"].value == 0.5  # min 0 ties with nothing at all
    assert found.rules["mean"].value == 0.0
    assert found.policies["solutions_without_steps"] == 1
    assert found.policies["ties"]["min"] == 1


def test_the_headline_n_may_be_below_the_pool() -> None:
    pools = [pool(f"p{index}", [1, 1, 2, 3, 3]) for index in range(4)]
    scores = [[[0.9, 0.9], [0.1, 0.1], [0.5, 0.5], [0.4, 0.4], [0.3, 0.3]]] * 4
    found = measure(pools, scores, n=2)
    assert found.n == 2
    assert [n for n, _ in found.curves["min"]] == [1, 2, 4, 5]
    # Of 10 pairs: 4 hold the best one; the right one of score .1 never wins but against nobody.
    assert found.rules["min"].value == pytest.approx(0.4)
    assert found.rules["min"] == dict(found.curves["min"])[2]
    assert found.rules["weighted_min"].se is not None
    assert found.paired["weighted_min"].se == found.rules["weighted_min"].se
    assert [n for n, _ in measure(pools, ns=[3], n=2).curves["majority"]] == [2, 3, 5]


def test_pools_of_different_sizes_meet_at_the_smallest() -> None:
    pools = [pool("a", [1, 1, 2, 2, 2]), pool("b", [2, 1]), pool("c", [1, 2, 2, 2, 2])]
    scores = [[[each / 10, 0.9] for each in range(len(mine.candidates))] for mine in pools]
    found = measure(pools, scores)
    assert found.n == 2
    assert [n for n, _ in found.curves["majority"]] == [1, 2]
    assert found.pass_at_1 == pytest.approx((2 / 5 + 1 / 2 + 1 / 5) / 3)
    assert found.ids == ["a", "b", "c"]
    # Best of two by rank: a: 1 of 10 pairs; b: the second one; c: never.
    np.testing.assert_allclose(found.per_problem["min"], [0.1, 1.0, 0.0], atol=1e-12)
    assert (found.policies["candidates_smallest_pool"], found.policies["candidates_largest_pool"]) == (2, 5)


def test_the_order_of_problems_and_candidates_decides_nothing_but_the_resampling() -> None:
    rng = np.random.default_rng(0)
    pools = [pool(f"p{index}", [int(each) for each in rng.integers(1, 4, size=6)]) for index in range(12)]
    scores = [[[float(each)] for each in rng.choice([0.1, 0.5, 0.9], size=6)] for _ in pools]
    found = measure(pools, scores)
    turned = measure(
        [ProblemPool(each.problem, each.candidates[::-1]) for each in pools[::-1]],
        [mine[::-1] for mine in scores[::-1]],
    )
    for rule, estimate in found.rules.items():
        assert turned.rules[rule].value == pytest.approx(estimate.value, abs=1e-12), rule


def test_same_seed_same_report() -> None:
    pools = [pool(f"p{index}", [1, 2, 1, 3], logprob=-1.0) for index in range(6)]
    scores = [[[0.1 * (index + each)] for each in range(4)] for index in range(6)]
    assert measure(pools, scores, seed=1).to_json() == measure(pools, scores, seed=1).to_json()


def test_n_larger_than_a_pool_names_the_problem() -> None:
    with pytest.raises(ShepherdError, match='problem "b" has 2 candidates, n is 4; give an n no larger'):
        measure([pool("a", [1] * 4), pool("b", [1] * 2)], n=4)
    with pytest.raises(ShepherdError, match="n = 0"):
        measure([pool("a", [1])], n=0)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ShepherdError, match="no problems"):
        measure([])
    with pytest.raises(ShepherdError, match="none of 1 problems has a gold answer"):
        measure([pool("a", [1], gold=None)])


def test_scores_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="scores: expected 1 problems, received 2"):
        measure([pool("a", [1])], [[[0.5]], [[0.5]]])
    with pytest.raises(ValueError, match="shuffled: a: expected 1 candidates, received 2"):
        measure([pool("a", [1])], [[[0.5]]], extra={"shuffled": [[[0.5], [0.5]]]})


def test_a_control_must_not_hide_a_rule() -> None:
    for name in ("min", "pass_at_n"):
        with pytest.raises(ShepherdError, match=f'control "{name}": a rule of that name exists'):
            measure([pool("a", [1])], [[[0.5]]], extra={name: [[[0.5]]]})


def test_rows_of_the_table() -> None:
    rows = measure([pool("a", [1, 2]), pool("b", [2, 2])], [[[0.9], [0.1]]] * 2).rows()
    assert [each.rule for each in rows][:2] == ["majority", "min"]
    assert rows[0].minus_majority is None
    assert rows[1].minus_majority is not None
    assert rows[1].minus_majority.value == pytest.approx(0.25)
