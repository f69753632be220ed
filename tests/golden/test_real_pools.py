"""Curves of real pools against figures that others computed from the same files (see the README of the data).

Every figure is an exact expectation over subsets, ties of the vote at random.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.report import RerankReport, evaluate
from eval.significance import compare_paired, judge
from shepherd.answers import extract
from shepherd.records import Candidate, Problem, ProblemPool

SUBQ = {
    "chatgpt": {
        "pass_at_1": 0.524,
        "pass_at_n": {2: 0.657, 4: 0.760, 8: 0.835, 13: 0.876},
        "majority": {2: 0.527, 4: 0.596, 8: 0.638, 13: 0.657},
    },
    "llama13b": {
        "pass_at_1": 0.225,
        "pass_at_n": {2: 0.321, 4: 0.424, 8: 0.521, 13: 0.587},
        "majority": {2: 0.226, 4: 0.254, 8: 0.275, 13: 0.292},
    },
}
OPENAI = {
    "6b_finetuning": 0.2168,
    "6b_verification": 0.3904,
    "175b_finetuning": 0.3472,
    "175b_verification": 0.5625,
}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    yield from map(json.loads, text.decode("utf-8").strip().split("\n"))


def problem(row: dict[str, Any], index: int, gold: str) -> Problem:
    return Problem(str(row.get("idx", index)), row["question"], str(row[gold]))


def points(report: RerankReport, rule: str) -> dict[int, float]:
    return {n: estimate.value for n, estimate in report.curves[rule]}


def subq(data: Path, name: str) -> RerankReport:
    rows = list(lines(data / "candidates" / f"subq_{name}_n13.jsonl.gz"))
    pools = [
        ProblemPool(
            problem(row, index, "gold"), tuple(Candidate(each["text"] or "") for each in row["candidates"])
        )
        for index, row in enumerate(rows)
    ]
    return evaluate(pools, None, answer_style="subq", bootstrap=100)


def test_one_real_generator_minus_the_other_problem_by_problem(foreign_data: Path) -> None:
    reports = {name: subq(foreign_data, name) for name in SUBQ}
    strong, weak = (reports[name].of_problem("majority") for name in ("chatgpt", "llama13b"))
    found = compare_paired(strong, weak)
    assert found.value == pytest.approx(0.657 - 0.292, abs=1e-3)
    low, high = found.ci95
    assert 0.33 < low < found.value < high < 0.40
    assert judge({"it": found}, "llama13b")["it"].verdict == "better than llama13b"
    # Paired, the interval is narrower than that of two generators on problems of their own would be.
    apart = np.hypot(strong.accuracy.std(), weak.accuracy.std()) / np.sqrt(1315)
    assert high - low < 2 * 1.96 * apart


@pytest.mark.parametrize("name", SUBQ)
def test_subq_curves_to_three_digits(foreign_data: Path, name: str) -> None:
    report = subq(foreign_data, name)
    expected = SUBQ[name]
    assert (report.problems, report.n) == (1315, 13)
    assert round(report.pass_at_1, 3) == expected["pass_at_1"]
    for rule in ("pass_at_n", "majority"):
        found = points(report, rule)
        assert {n: round(found[n], 3) for n in expected[rule]} == expected[rule]  # type: ignore[attr-defined]
    assert report.policies["duplicate_texts"] > 0.2 * report.policies["candidates"]
    assert report.policies["ties"]["majority"] > 0


def test_zeroeval_weak_16(foreign_data: Path) -> None:
    rows = list(lines(foreign_data / "candidates" / "zeroeval_weak16.jsonl.gz"))
    pools = [
        ProblemPool(
            problem(row, index, "gold"), tuple(Candidate(each["output"] or "") for each in row["candidates"])
        )
        for index, row in enumerate(rows)
    ]
    report = evaluate(pools, None, answer_style="zeroeval", bootstrap=100)
    assert (report.problems, report.n) == (1319, 16)
    assert round(report.pass_at_n, 3) == 0.990
    assert 0.9395 <= report.rules["majority"].value < 0.9445


def test_openai_samples_without_a_disagreement(foreign_data: Path) -> None:
    rows = list(lines(foreign_data / "gsm8k" / "example_model_solutions.jsonl"))
    pools = [
        ProblemPool(
            problem(row, index, "ground_truth"),
            tuple(Candidate(row[model]["solution"], model) for model in OPENAI),
        )
        for index, row in enumerate(rows)
    ]
    disagreements = 0
    for at, (model, accuracy) in enumerate(OPENAI.items()):
        right = []
        for row, each in zip(rows, pools, strict=True):
            assert each.problem.answer is not None
            answer = extract(each.candidates[at].text, "openai")
            right.append(answer is not None and answer == extract(each.problem.answer, "gold"))
            disagreements += right[-1] != row[model]["is_correct"]
        assert round(sum(right) / len(right), 4) == accuracy
    assert disagreements == 0
    report = evaluate(pools, None, answer_style="openai", bootstrap=100)
    assert round(report.pass_at_n, 3) == 0.672
