"""Rows to be judged on: shapes, what follows a first error, verdicts, names; and scores from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.first_error import first_bad
from eval.judged import JudgedRow
from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import read_jsonl
from shepherd.records import StepRow
from verifier.data.rows import read_rows
from verifier.evaluate import rows as evaluate_rows
from verifier.evaluate.rows import name_rows, read_judged
from verifier.evaluate.scores import read_row_scores

STEPS = ["Two and two.", "That is five.", "So 5."]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_what_follows_a_first_error_is_unlabelled(tmp_path: Path) -> None:
    said = {"id": "p-0", "generator": "m", "problem": "2 + 2?", "steps": STEPS, "final_answer_correct": False}
    rows = [{**said, "label": 1}, {**said, "id": "p-1", "label": -1, "final_answer_correct": True}]
    found, counts = read_judged(write(tmp_path / "p.jsonl", rows))
    assert [each.row.labels for each in found] == [(1.0, 0.0, None), (1.0, 1.0, 1.0)]
    assert [each.right for each in found] == [False, True]
    assert (found[0].row.question, found[0].row.id, found[0].row.source) == ("2 + 2?", "p-0", "m")
    assert (counts.read, counts.kept) == (2, 2)


def test_mistake_rows(tmp_path: Path) -> None:
    said = {"input": "2 + 2 =", "steps": STEPS, "target": "4"}
    rows = [
        {**said, "answer": "5", "mistake_index": 0},
        {**said, "answer": "4.0", "mistake_index": None},
        {**said, "answer": "four", "mistake_index": 2},
    ]
    found, _ = read_judged(write(tmp_path / "b.jsonl", rows))
    assert [first_bad(each.row.labels) for each in found] == [0, 3, 2]
    assert [each.right for each in found] == [False, True, False]


def test_a_json_list_is_read_as_lines_are(tmp_path: Path) -> None:
    rows = [{"problem": "q", "steps": STEPS, "label": 2}, {"problem": "q", "steps": STEPS, "label": -1}]
    (tmp_path / "gsm8k.json").write_text(json.dumps(rows, indent=1))
    found, _ = read_judged(str(tmp_path / "gsm8k.json"))
    assert [first_bad(each.row.labels) for each in found] == [2, 3]
    assert [each.right for each in found] == [None, None]


def test_every_shape_of_training_rows_is_read(tmp_path: Path) -> None:
    rows = [
        {"input": "2 + 2? Step 1: 4 ки", "label": "2 + 2? Step 1: 4 +", "task": "GSM8K"},
        {"prompt": "2 + 2?", "completions": ["4"], "labels": [True]},
        {"question": "2 + 2?", "steps": ["4"], "labels": [0.7], "final_answer_correct": True},
        {
            "question": {"problem": "2 + 2?"},
            "label": {
                "steps": [
                    {"completions": [{"text": "4", "rating": 1}, {"text": "5", "rating": -1}],
                     "chosen_completion": 0}
                ]
            },
        },
    ]  # fmt: skip
    found, counts = read_judged(write(tmp_path / "all.jsonl", rows))
    assert [each.row.labels for each in found] == [(1.0,), (1.0,), (0.7,), (1.0,), (0.0,)]
    assert [each.right for each in found] == [None, None, True, None, None]
    assert len(counts.questions) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"problem": "q", "steps": STEPS, "label": 3}, "label is 3, expected a step from 0 to 2, or -1"),
        ({"problem": "q", "steps": STEPS, "label": None}, "label is None"),
        ({"problem": "q", "steps": STEPS, "label": True}, "label is True"),
        ({"input": "q", "steps": STEPS, "mistake_index": -1}, "mistake_index is -1, .* or null"),
        ({"problem": "q", "steps": ["a ки b"], "label": 0}, "a step holds the tag"),
        ({"problem": "q", "steps": ["a", " "], "label": 0}, "a step has no text"),
        ({"problem": "q", "steps": "a", "label": 0}, '"steps" must be a list of texts'),
        ({"problem": 3, "steps": ["a"], "label": 0}, '"question" must be text'),
        ({"problem": "q", "steps": ["a"], "label": 0, "final_answer_correct": "no"}, "must be true, false"),
    ],
)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    good = {"problem": "q", "steps": STEPS, "label": -1}
    path = write(tmp_path / "rows.jsonl", [good, row])
    with pytest.raises(ShepherdError, match=rf"rows\.jsonl:2: .*{said}"):
        read_judged(path)


def test_bad_rows_are_left_out_if_asked(tmp_path: Path) -> None:
    good = {"problem": "q", "steps": STEPS, "label": -1}
    path = write(tmp_path / "rows.jsonl", [{**good, "label": 9}, good, {**good, "steps": []}])
    found, counts = read_judged(path, on_bad_row="skip")
    assert len(found) == 1
    assert counts.to_json()["skipped"] == {"no_labels": 1, "wrong_index": 1}
    nothing = write(tmp_path / "none.jsonl", [{**good, "label": 9}])
    with pytest.raises(ShepherdError, match="no usable row among 1"):
        read_judged(nothing, on_bad_row="skip")


def test_a_benchmark_is_not_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"problem": "q", "steps": STEPS, "label": -1}])
    with pytest.raises(ShepherdError, match=r"rows\.jsonl:1: "):
        read_rows(path)


def test_the_packaged_rows_are_not_those_of_the_training() -> None:
    found, _ = read_judged("embedded")
    trained = {row["question"].strip() for _, row in read_jsonl(asset("rows"))}
    questions = {each.row.question.strip() for each in found}
    assert len(questions) > 250
    assert not questions & trained
    assert all(each.row.id.startswith("test-") for each in found)
    assert len({each.row.id for each in found}) == len(found)
    assert {each.right for each in found} == {True, False}
    assert {first_bad(each.row.labels) == len(each.row.labels) for each in found} == {True, False}


def rows_of(*sizes: int, ids: str = "") -> list[JudgedRow]:
    return [
        JudgedRow(StepRow("q", ("s",) * size, (1.0,) * size, id=ids[at] if ids else ""))
        for at, size in enumerate(sizes)
    ]


def test_scores_are_found_by_id_or_by_order(tmp_path: Path) -> None:
    rows = name_rows(rows_of(1, 2, ids="ab"))
    path = tmp_path / "scores.jsonl"
    lines = [
        {"id": "b", "step_scores": [0.5, 1]},
        {"id": "a", "step_scores": [0]},
        {"id": "c", "step_scores": []},
    ]
    assert read_row_scores(write(path, lines), rows) == [[0.0], [0.5, 1.0]]
    in_order = [{"step_scores": [0.25]}, {"step_scores": [0.5, 0.75]}]
    assert read_row_scores(write(path, in_order), rows) == [[0.25], [0.5, 0.75]]
    numbered = [{"id": 1, "step_scores": [0.5, 0.75]}, {"id": "0", "step_scores": [0.25]}]
    assert read_row_scores(write(path, numbered), name_rows(rows_of(1, 2))) == [[0.25], [0.5, 0.75]]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no lines; a scores file has"),
        ([{"step_scores": [1]}], "1 lines without ids for 2 rows"),
        ([{"id": "a", "step_scores": [1]}, {"step_scores": [1]}], r":2: no \"id\" field"),
        ([{"id": "a", "step_scores": [1]}], r"no scores for 1 of 2 rows \(\"b\"\)"),
        ([{"id": "a", "step_scores": [1]}] * 2, r":2: id \"a\" was already on line 1"),
        ([{"step_scores": [1]}, {"step_scores": [1]}], r":2: 1 step scores, but row \"b\" has 2 steps"),
        ([{"step_scores": [1.5]}, {"step_scores": [1, 1]}], r":1: step_scores\[0\] must be in \[0, 1\]"),
        ([{"step_scores": [None]}, {"step_scores": [1, 1]}], r":1: step_scores\[0\] must be"),
        ([{"step_scores": [True]}, {"step_scores": [1, 1]}], r":1: step_scores\[0\] must be"),
        ([{"step_scores": 0.5}, {"step_scores": [1, 1]}], r":1: no \"step_scores\" list"),
    ],
)
def test_scores_that_do_not_fit_are_told(tmp_path: Path, lines: list[dict[str, Any]], said: str) -> None:
    path = write(tmp_path / "scores.jsonl", lines)
    with pytest.raises(ShepherdError, match=said):
        read_row_scores(path, name_rows(rows_of(1, 2, ids="ab")))


def test_processbench_comes_from_the_hub_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "math.json").write_text(json.dumps([{"problem": "q", "steps": STEPS, "label": 0}]))
    asked = []

    def fetch(repository: str, patterns: tuple[str, ...], *, remedy: str) -> list[Path]:
        asked.append((repository, patterns, remedy))
        return [tmp_path / "math.json"]

    monkeypatch.setattr(evaluate_rows, "fetch_files", fetch)
    found, _ = read_judged("processbench-math")
    assert found[0].row.labels == (0.0, None, None)
    assert asked[0][:2] == ("Qwen/ProcessBench", ("math.json",))
    assert "math.json" in asked[0][2]
    with pytest.raises(ShepherdError, match="processbench-maths: no such file"):
        read_judged("processbench-maths")


def test_names_are_unique() -> None:
    named = name_rows(rows_of(1, 1, 1, 1, ids="11a1"))
    assert len({each.name for each in named}) == 4
    assert named[0].name == "1"
