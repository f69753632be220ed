"""The packaged rows of test problems are what the build makes: the exact checker's labels, of that split."""

from __future__ import annotations

from generation.embedded.build import TEST_ROW_PROBLEMS, TEST_ROW_SEED
from generation.embedded.checker import Checker
from generation.embedded.label import is_right
from generation.embedded.world import generate_problems, split_of
from shepherd.assets import asset
from shepherd.files import read_jsonl


def test_labels_and_verdicts_are_the_checkers() -> None:
    problems = generate_problems("test", TEST_ROW_PROBLEMS, TEST_ROW_SEED)
    by_id = {each.problem.id: each for each in problems}
    rows = [row for _, row in read_jsonl(asset("test-rows"))]
    sources = {row["source"] for row in rows}
    assert len(sources) == 2
    seen = set()
    for row in rows:
        problem = by_id[row["id"].rpartition(".")[0]]
        assert row["question"] == problem.problem.question
        assert split_of(problem.answer) == "test"
        labels = [float(verdict.right) for verdict in Checker.of(problem).check(row["steps"])]
        assert row["labels"] == labels
        assert row["final_answer_correct"] == is_right(problem, row["steps"])
        seen.add((row["question"], *row["steps"]))
    assert len(seen) == len(rows) == len({row["id"] for row in rows})


def test_a_right_answer_is_the_problems() -> None:
    problem = generate_problems("test", 1, TEST_ROW_SEED)[0]
    assert is_right(problem, problem.solution)
    assert not is_right(problem, problem.solution[:-1])
    assert not is_right(problem, [*problem.solution[:-1], "The answer is: -1"])
