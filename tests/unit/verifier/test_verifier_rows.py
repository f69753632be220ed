"""The row parser: real rows, each oddity of the full Math-Shepherd file, TRL rows, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.files import read_jsonl
from shepherd.steps import TAG
from verifier.data.math_shepherd import BadRowError, parse_math_shepherd
from verifier.data.parse import parse
from verifier.data.rows import describe, read_rows


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def _shepherd(text: str, label: str) -> dict[str, str]:
    return {"input": text, "label": label, "task": "GSM8K"}


GOOD = _shepherd(
    f"2 + 2? Step 1: 2 + 2 = 4 {TAG}\nStep 2: So 4. {TAG}", "2 + 2? Step 1: 2 + 2 = 4 +\nStep 2: So 4. -"
)


def test_the_seven_real_rows_parse_to_their_exact_steps_and_labels(foreign_data: Path) -> None:
    path = foreign_data / "math_shepherd" / "openr_samples_math-shepherd.jsonl"
    rows, counts = read_rows(str(path))
    signs = ["".join("+" if label else "-" for label in row.labels) for row in rows]
    assert signs == ["++++-", "---", "--", "-----", "+----", "--", "---"]
    # Question and steps give both texts back, character by character: nothing was lost and nothing moved.
    for (_, raw), row, marks in zip(read_jsonl(path), rows, signs, strict=True):
        assert f"{row.question} " + "\n".join(f"{step} {TAG}" for step in row.steps) == raw["input"].rstrip()
        labelled = zip(row.steps, marks, strict=True)
        assert (
            f"{row.question} " + "\n".join(f"{step} {mark}" for step, mark in labelled)
            == raw["label"].rstrip()
        )
        assert row.source == raw["task"]
    assert counts.to_json()["skipped"] == {}


_texts = st.text(alphabet="ab+- 1=\n.?", min_size=1).filter(lambda text: text.strip(" \n+-=.?"))


@given(_texts, st.lists(st.tuples(_texts, st.sampled_from("+-")), min_size=1, max_size=5))
def test_signs_in_steps_are_never_taken_for_labels(question: str, steps: list[tuple[str, str]]) -> None:
    texts = [f"Step {i}: {step.strip()}" for i, (step, _) in enumerate(steps, start=1)]
    text = question + " " + "\n".join(f"{step} {TAG}" for step in texts)
    label = question + " " + "\n".join(f"{step} {sign}" for step, (_, sign) in zip(texts, steps, strict=True))
    row = parse_math_shepherd(text, label)
    assert row.question == question.strip()
    assert row.steps == tuple(texts)
    assert row.labels == tuple(1.0 if sign == "+" else 0.0 for _, sign in steps)


@pytest.mark.parametrize(
    ("name", "text", "label", "question", "steps", "labels"),
    [
        pytest.param(
            "question_holds_tag", "What is ки? Step 1: a ки", "What is ки? Step 1: a +",
            "What is ки?", ("Step 1: a",), (1.0,), id="tag in the question, kept in label",
        ),
        pytest.param(
            "question_holds_tag", "What is ки? Step 1: a ки", "What is -? Step 1: a +",
            "What is ки?", ("Step 1: a",), (1.0,), id="tag in the question, replaced in label",
        ),
        pytest.param(
            "question_holds_header", "Step 1: mix. Then? Step 1: a ки", "Step 1: mix. Then? Step 1: a -",
            "Step 1: mix. Then?", ("Step 1: a",), (0.0,), id="Step 1: in the question",
        ),
        pytest.param(
            "lower_case_header", "How? step 1: a ки\nstep 2: b ки", "How? step 1: a +\nstep 2: b -",
            "How?", ("step 1: a", "step 2: b"), (1.0, 0.0), id="lower-case step 1:",
        ),
        pytest.param(
            "several_step_1", "How? Step 1: a ки\nStep 1: b ки", "How? Step 1: a +\nStep 1: b -",
            "How?", ("Step 1: a", "Step 1: b"), (1.0, 0.0), id="several Step 1:",
        ),
        pytest.param(
            "several_step_1", "How? Step 1: Step 1: a ки", "How? Step 1: Step 1: a +",
            "How?", ("Step 1: Step 1: a",), (1.0,), id="Step 1: twice in a row",
        ),
        pytest.param(
            "untagged_steps", "How? Step 1: a\nStep 2: b ки", "How? Step 1: a\nStep 2: b -",
            "How?", ("Step 1: a\nStep 2: b",), (0.0,), id="an untagged step joins the next tag's step",
        ),
        pytest.param(
            "untagged_steps", "How? Step 1: a ки\nStep 2: b", "How? Step 1: a +\nStep 2: b",
            "How?", ("Step 1: a", "Step 2: b"), (1.0, None), id="an untagged last step has no label",
        ),
        pytest.param(
            "unlabelled_tags", "How? Step 1: a ки\nStep 2: b ки", "How? Step 1: a ки\nStep 2: b -",
            "How?", ("Step 1: a", "Step 2: b"), (None, 0.0), id="a tag left standing in label",
        ),
        pytest.param(
            "empty_steps", "How? Step 1: a ки ки\nStep 2: b ки", "How? Step 1: a + -\nStep 2: b -",
            "How?", ("Step 1: a", "Step 2: b"), (1.0, 0.0), id="a tag that closes nothing",
        ),
        pytest.param(
            "signs_in_steps", "How? Step 1: 3 - 1 + 2 ки", "How? Step 1: 3 - 1 + 2 -",
            "How?", ("Step 1: 3 - 1 + 2",), (0.0,), id="signs inside steps",
        ),
    ],
)  # fmt: skip
def test_each_oddity_has_its_rule_and_its_count(
    tmp_path: Path,
    name: str,
    text: str,
    label: str,
    question: str,
    steps: tuple[str, ...],
    labels: tuple[float | None, ...],
) -> None:
    rows, counts = read_rows(_write(tmp_path / "rows.jsonl", [GOOD, _shepherd(text, label)]))
    assert (rows[1].question, rows[1].steps, rows[1].labels) == (question, steps, labels)
    assert counts.oddities[name] >= 1


@pytest.mark.parametrize(
    ("kind", "text", "label"),
    [
        ("no_header", "How many? a ки\nb ки", "How many? a +\nb -"),
        ("no_labels", "How many? Step 1: a", "How many? Step 1: a"),
        ("no_labels", "How many? Step 1: a ки", "How many? Step 1: a ки"),
    ],
)
def test_rows_that_no_rule_can_read_are_skipped_with_line_and_reason(
    tmp_path: Path, kind: str, text: str, label: str
) -> None:
    path = _write(tmp_path / "rows.jsonl", [GOOD, _shepherd(text, label), GOOD])
    rows, counts = read_rows(path)
    assert len(rows) == 2
    assert [(row.line, row.kind) for row in counts.skipped] == [(2, kind)]
    assert counts.to_json()["skipped"] == {kind: 1}
    assert any(line.startswith(f"{path}:2: skipped ({kind}): ") for line in describe(counts))


BAD = [
    ("labels_end_early", _shepherd("How? Step 1: a ки\nStep 2: b ки", "How? Step 1: a +")),
    ("labels_end_early", _shepherd("How? Step 1: a ки\nStep 2: b ки", "How? Step 1: a +\nStep 2: b")),
    ("misaligned", _shepherd("How? Step 1: a ки\nStep 2: b ки", "How? Step 1: a +\nStep 2: c -")),
    ("misaligned", _shepherd("How? Step 1: a ки", "How? Step 1: a 1")),
    ("misaligned", _shepherd("How? Step 1: a ки", "How? Step 1: a +\nStep 2: b -")),
    ("misaligned", _shepherd("How? Step 1: a ки", "How? Step 1: a+ +")),
    ("wrong_count", {"prompt": "How?", "completions": ["a", "b"], "labels": [True]}),
    ("wrong_count", {"question": "How?", "steps": ["a"], "labels": [1, 0]}),
    ("tag_inside_step", {"prompt": "How?", "completions": ["a ки b"], "labels": [True]}),
    ("blank_step", {"prompt": "How?", "completions": ["a", " "], "labels": [True, False]}),
]


@pytest.mark.parametrize(("kind", "row"), BAD)
def test_labels_that_do_not_fit_are_an_error_with_file_and_line(
    tmp_path: Path, kind: str, row: dict[str, Any]
) -> None:
    path = _write(tmp_path / "rows.jsonl", [GOOD, row, GOOD, row])
    with pytest.raises(ShepherdError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert f"({kind}); 1 more rows like it; " in str(caught.value)
    assert "on_bad_row=skip" in str(caught.value)
    rows, counts = read_rows(path, on_bad_row="skip")
    assert len(rows) == 2
    assert [(each.line, each.kind) for each in counts.skipped] == [(2, kind), (4, kind)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input": "How?', "broken JSON"),
        ('{"input": "How? Step 1: a"}', 'no "label" field'),
        ('{"label": "How? Step 1: a"}', 'no "input" field'),
        ('{"prompt": "How?", "labels": []}', 'no "completions" field'),
        ('{"question": "How?", "labels": []}', 'no "steps" field'),
        ('{"text": "How?"}', 'no "question", "steps", "labels" field'),
        ('{"input": 3, "label": "x"}', '"input" must be text'),
        ('{"prompt": "How?", "completions": ["a"], "labels": [2]}', "labels[0] must be"),
        ('{"prompt": "How?", "completions": ["a"], "labels": ["+"]}', "labels[0] must be"),
        ('{"prompt": "How?", "completions": [1], "labels": [1]}', "completions[0] must be text"),
        ('{"question": "How?", "steps": ["a"], "labels": [-100]}', "labels[0] must be"),
        ("[1]", "expected a JSON object"),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_a_broken_row_is_an_error_whatever_the_setting(
    tmp_path: Path, line: str, said: str, on_bad_row: Any
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(ShepherdError) as caught:
        read_rows(str(path), on_bad_row=on_bad_row)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert said in str(caught.value)


def test_trl_rows_keep_soft_labels_and_nulls() -> None:
    row, _ = parse(
        {
            "prompt": " How? ",
            "completions": ["3 + 4\n = 7", "So 7 ки", "done"],
            "labels": [0.625, True, None],
        },
        "rows.jsonl",
        1,
    )
    assert row.question == "How?"
    assert row.steps == ("3 + 4\n = 7", "So 7", "done")
    assert row.labels == (0.625, 1.0, None)


def test_step_rows_are_read_back(tmp_path: Path, tiny: Any) -> None:
    rows = tiny.make_rows(8)
    again, counts = read_rows(str(tiny.write_rows(tmp_path / "rows.jsonl", rows)))
    assert again == rows
    assert counts.to_json() == {"read": 8, "kept": 8, "duplicates": 0, "oddities": {}, "skipped": {}}


def test_duplicates_and_limit(tmp_path: Path) -> None:
    other = {"prompt": "Who?", "completions": ["a"], "labels": [1]}
    path = _write(tmp_path / "rows.jsonl", [GOOD, GOOD, other, other])
    assert len(read_rows(path)[0]) == 4
    rows, counts = read_rows(path, dedup=True)
    assert (len(rows), counts.duplicates) == (2, 2)
    assert len(read_rows(path, limit=3)[0]) == 3


def test_a_file_without_a_usable_row_is_an_error(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.jsonl", [_shepherd("How? a ки", "How? a +")])
    with pytest.raises(ShepherdError, match="no usable row among 1"):
        read_rows(path)


def test_misaligned_reasons_say_where() -> None:
    with pytest.raises(BadRowError) as caught:
        parse_math_shepherd("How? Step 1: a ки\nStep 2: b ки", "How? Step 1: a +\nStep 2: c -")
    assert (
        caught.value.reason
        == "label differs from input at character 26 (after 1 tags): found 'c -', expected 'b '"
    )
