"""Right solutions from every kind of row, in the step format that the verifier reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from generation.learn.sft.config import SftConfig
from generation.learn.sft.solutions import parse_solved, read_solved, solution_text
from shepherd import hub
from shepherd.answers import extract
from shepherd.errors import ShepherdError
from shepherd.steps import TAG, split

GSM8K = {
    "question": "Natalia sold clips to 48 of her friends in April, and half as many in May. How many?",
    "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
    "Altogether 48+24 = <<48+24=72>>72 clips.\n#### 72",
}
KEPT = (
    "Step 1: Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
    "Step 2: Altogether 48+24 = <<48+24=72>>72 clips. The answer is: 72"
)


@pytest.mark.parametrize(
    ("row", "keep", "expected"),
    [
        (
            GSM8K,
            False,
            KEPT.replace("<<48/2=24>>", "").replace("<<48+24=72>>", ""),
        ),
        (
            GSM8K,
            True,
            KEPT,
        ),
        (
            {"question": "How many?", "solution": "Step 1: 2 + 3 = 5\n\nStep 2: 5 * 2 = 10\n#### 10"},
            False,
            "Step 1: 2 + 3 = 5\nStep 2: 5 * 2 = 10 #### 10",
        ),
        (
            {"question": "How many?", "solution": f"Step 1: 2 + 3 = 5 {TAG}\nStep 2: 10 {TAG}", "answer": 10},
            False,
            "Step 1: 2 + 3 = 5\nStep 2: 10 The answer is: 10",
        ),
        (
            {"question": "How many?", "steps": ["2 + 3 = 5", "so The answer is: 5"], "labels": [1, True]},
            False,
            "Step 1: 2 + 3 = 5\nStep 2: so The answer is: 5",
        ),
        (
            {"question": "?", "answer": "All 1,200.\n#### 1,200"},
            False,
            "Step 1: All 1,200. The answer is: 1,200",
        ),
    ],
)
def test_a_solution_in_the_step_format(row: dict[str, Any], keep: bool, expected: str) -> None:
    parsed = parse_solved(row, "f", 1, keep_annotations=keep)
    assert solution_text(parsed, tags=False) == expected
    tagged = solution_text(parsed, tags=True)
    assert tagged.count(f" {TAG}") == len(parsed.steps)
    assert tagged.replace(f" {TAG}", "") == expected
    assert len(split(expected).steps) == len(parsed.steps)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": "#### 1"}, 'f:7: "question" must be text, found None'),
        ({"question": "?", "answer": "seventy-two"}, 'f:7: "answer" does not end in a line "#### 72"'),
        ({"question": "?", "answer": "#### 72"}, "f:7: no solution, or a blank step"),
        ({"question": "?"}, 'f:7: no "answer", "solution" or "steps" field'),
        ({"question": "?", "solution": 7}, 'f:7: "solution" must be text, found 7'),
        ({"question": "?", "solution": "So it is."}, "f:7: the solution states no answer"),
        ({"question": "?", "steps": ["a", " "], "answer": "3"}, "f:7: no solution, or a blank step"),
        ({"question": "?", "steps": ["The answer is: 3"], "labels": [1, 1]}, "f:7: 1 steps but 2 labels"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_line(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ShepherdError) as refused:
        parse_solved(row, "f", 7, keep_annotations=False)
    assert str(refused.value).startswith(said)


def test_rows_with_a_wrong_step_are_passed_over_and_counted(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "steps": ["The answer is: 3"], "labels": [1.0]},
        {"question": "b", "steps": ["1 + 1 = 3", "The answer is: 3"], "labels": [0.0, 0.0]},
        {"question": "c", "steps": ["The answer is: 3"], "labels": [None]},
        GSM8K,
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_solved(SftConfig(data=str(path)))
    assert [row.question for row in found.rows] == ["a", GSM8K["question"]]
    assert found.counts() == {"read": 4, "kept": 2, "with_wrong_steps": 2}
    assert len(read_solved(SftConfig(data=str(path), limit=1)).rows) == 1
    path.write_text(json.dumps(rows[1]))
    with pytest.raises(ShepherdError, match="no right solution among 1 rows"):
        read_solved(SftConfig(data=str(path)))


def test_the_embedded_world_gives_right_solutions() -> None:
    found = read_solved(SftConfig(limit=20))
    assert len(found.rows) == 20
    for row in found.rows:
        text = solution_text(row, tags=True)
        assert split(text).steps == row.steps
        assert extract(text) is not None


def test_gsm8k_without_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    with pytest.raises(ShepherdError) as told:
        read_solved(SftConfig(data="gsm8k"))
    assert "\n" not in str(told.value)
    assert "openai/gsm8k" in str(told.value)
    assert "train.jsonl" in str(told.value)


def test_every_real_gsm8k_solution_keeps_steps_and_answer(foreign_data: Path) -> None:
    path = foreign_data / "gsm8k" / "train.jsonl"
    found = read_solved(SftConfig(data=str(path)))
    answers = [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]
    assert len(found.rows) == len(answers)
    for row, answer in zip(found.rows, answers, strict=True):
        text = solution_text(row, tags=False)
        assert split(text).steps == tuple(text.split("\n"))
        assert len(row.steps) == len([line for line in answer.split("\n") if line.strip()]) - 1
        assert extract(text) == extract(answer, "gsm8k")
        assert "<<" not in text
        assert "####" not in text
