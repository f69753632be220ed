"""What the step viewer is told of each problem, beside the report's own figures for the same pools."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eval.page import problems
from eval.page.problems import FILTERS, view
from eval.report import evaluate
from shepherd.records import Candidate, Problem, ProblemPool, ScoreLine


def solution(answer: int | None, steps: int) -> str:
    said = "no idea" if answer is None else f"The answer is: {answer}"
    return "\n".join([*(f"Step {at + 1}: so ки" for at in range(steps - 1)), f"Step {steps}: {said} ки"])


def drawn(seed: int, count: int = 60, size: int = 6) -> tuple[list[ProblemPool], list[ScoreLine]]:
    """Pools with ties, silent candidates, repeated texts and problems without a gold answer."""
    rng = random.Random(seed)
    pools, scores = [], []
    for number in range(count):
        answers = [rng.choice([1, 1, 2, 2, 3, None]) for _ in range(size)]
        lengths = [rng.randint(1, 3) for _ in range(size)]
        texts = [solution(answer, steps) for answer, steps in zip(answers, lengths, strict=True)]
        gold = None if rng.random() < 0.1 else "1"
        pools.append(ProblemPool(Problem(f"p{number}", "?", gold), tuple(map(Candidate, texts))))
        step_scores = tuple(tuple(rng.choice([0.1, 0.6, 0.9]) for _ in range(steps)) for steps in lengths)
        scores.append(ScoreLine(f"p{number}", step_scores))
    return pools, scores


def shown(pools: list[ProblemPool], scores: list[ScoreLine] | None, **more: Any) -> problems.Viewer:
    given: dict[str, Any] = {"headline": "min", **more}
    return view(pools, scores, style="shepherd", grader="exact", grader_timeout_s=1.0, **given)


@pytest.mark.parametrize("seed", range(3))
def test_the_chances_are_the_reports_own(seed: int) -> None:
    pools, scores = drawn(seed)
    lists = [[list(each) for each in line.step_scores] for line in scores]
    report = evaluate(pools, lists, answer_style="shepherd", bootstrap=100)
    viewer = shown(pools, scores)
    graded = [line for line in viewer.index["problems"] if line[2] is not None]
    assert [line[0] for line in graded] == list(report.ids)
    assert [line[4] for line in graded] == pytest.approx(report.per_problem["majority"].tolist())
    assert [line[5] for line in graded] == pytest.approx(report.per_problem["min"].tolist())
    differ = abs(report.per_problem["min"] - report.per_problem["majority"]) > 1e-9
    assert viewer.counts["verifier_right"] + viewer.counts["majority_right"] == differ.sum() > 0
    assert viewer.counts["tied"] >= report.policies["ties"]["majority"] > 0
    assert viewer.counts["ungraded"] == report.policies["problems_without_gold"] > 0
    assert viewer.counts["alarm_silent"] == report.policies["problems_without_any_answer"]


@pytest.mark.parametrize("temperature", [0.001, 10.0])
def test_softmin_is_taken_at_the_runs_temperature(temperature: float) -> None:
    # Near the minimum the first is the better one, near the mean the second.
    pools = [ProblemPool(Problem("p", "?", "1"), (Candidate(solution(1, 2)), Candidate(solution(2, 2))))]
    scores = [ScoreLine("p", ((0.5, 0.5), (0.3, 0.9)))]
    lists = [[list(each) for each in line.step_scores] for line in scores]
    more: dict[str, Any] = {"headline": "softmin", "softmin_temperature": temperature}
    report = evaluate(pools, lists, answer_style="shepherd", bootstrap=100, **more)
    viewer = shown(pools, scores, **more)
    assert [line[5] for line in viewer.index["problems"]] == report.per_problem["softmin"].tolist()
    assert viewer.index["problems"][0][5] == (1.0 if temperature < 1 else 0.0)
    mine = [each["score"] for each in viewer.blocks[0][0]["candidates"]]
    assert (mine[0] > mine[1]) == (temperature < 1)


def test_bits_are_the_filters_and_their_counts() -> None:
    viewer = shown(*drawn(0))
    for place, name in enumerate(FILTERS):
        members = sum(bool(line[3] >> place & 1) for line in viewer.index["problems"])
        assert members == viewer.counts[name], name
    assert viewer.counts["alarm"] <= sum(viewer.counts[name] for name in FILTERS if name.startswith("alarm_"))


def test_without_scores_there_are_no_filters_that_need_them() -> None:
    viewer = shown(drawn(0)[0], None)
    assert "verifier_right" not in viewer.counts
    assert {line[5] for line in viewer.index["problems"]} == {None}
    assert all("scores" not in each for block in viewer.blocks for one in block for each in one["candidates"])


def test_blocks_hold_every_problem_once() -> None:
    pools, scores = drawn(1, count=2 * problems.BLOCK + 1, size=2)
    viewer = shown(pools, scores)
    assert [len(block) for block in viewer.blocks] == [problems.BLOCK, problems.BLOCK, 1]
    for pool, detail in zip(pools, (each for block in viewer.blocks for each in block), strict=True):
        assert [each["place"] for each in detail["candidates"]] == [0, 1]
        assert sum(len(answer["by"]) for answer in detail["answers"]) + len(detail["silent"]) == 2
        same = pool.candidates[0].text == pool.candidates[1].text
        assert detail["candidates"][1].get("same") == (0 if same else None)


def test_large_pools_bring_those_that_rules_take_and_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "LEAST", 4)
    size = 40
    texts = [solution(2 if place in {30, 35} else 1, 1) for place in range(size)]
    scores = ScoreLine("p", tuple((0.9 if place == 30 else 0.1,) for place in range(size)))
    pool = ProblemPool(Problem("p", "?", "1"), tuple(map(Candidate, texts)))
    viewer = shown([pool], [scores], most=4)
    [[detail]] = viewer.blocks
    assert viewer.index["share"] == 4
    assert detail["size"] == size
    assert [each["place"] for each in detail["candidates"]] == [0, 1, 2, 30]
    assert [len(answer["by"]) for answer in detail["answers"]] == [38, 2]
    assert detail["best"]["min"] == [30]
