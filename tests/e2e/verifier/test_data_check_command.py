"""`shepherd data check`, and what `shepherd train-prm` does with evaluation problems in its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd import hub
from shepherd.cli import cli

ROWS: list[dict[str, Any]] = [
    {
        "input": "Tom has 3 apples and buys 4 more. How many now? Step 1: 3 + 4 = 7 ки\nStep 2: So 7 ки",
        "label": "Tom has 3 apples and buys 4 more. How many now? Step 1: 3 + 4 = 7 +\nStep 2: So 7 -",
        "task": "GSM8K",
    },
    {"input": "How many? Step 1: a ки\nStep 2: b ки", "label": "How many? Step 1: a +", "task": "GSM8K"},
    {"input": "How many? a ки", "label": "How many? a +", "task": "GSM8K"},
    {"input": "Who\x1b[31m? Step 1: a ки", "label": "Who\x1b[31m? Step 1: a -", "task": "MATH"},
    {"input": "Who\x1b[31m? Step 1: a ки", "label": "Who\x1b[31m? Step 1: a -", "task": "MATH"},
]  # fmt: skip


def check(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    question = "TOM has 3 apples -- and buys 4 more: how many now"
    path.write_text(json.dumps({"question": question, "answer": "3 + 4\n#### 7"}) + "\n")
    return path


def test_it_shows_counts_reasons_and_contamination(rows: Path, evaluation: Path, tiny_base: Path) -> None:
    done = check(rows, "--against", evaluation, "--tokenizer", tiny_base)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines()]
    for expected in (
        "lines read 5", "rows kept 2", "duplicates 1", "questions 2", "steps 3", "labelled steps 3",
        "share positive 33.3%", "skipped (labels_end_early): 1", "skipped (no_header): 1",
        "row 2: 2 tags but label ends after 1 of them",
    ):  # fmt: skip
        assert expected in lines
    assert any("over 512; 0 over 1024" in line for line in lines)
    assert any(
        line.startswith(f"contamination: 1 of 2 questions stand in {evaluation} (1 of its 1)")
        for line in lines
    )
    assert "row 1: Tom has 3 apples and buys 4 more. How many now?" in lines
    assert "\x1b" not in done.stdout


def test_json_has_every_skipped_row_and_every_match(rows: Path, evaluation: Path, tiny_base: Path) -> None:
    done = check(rows, "--against", evaluation, "--against", "embedded", "--tokenizer", tiny_base, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(kind, [row["line"] for row in each]) for kind, each in found["skipped"].items()] == [
        ("labels_end_early", [2]),
        ("no_header", [3]),
    ]
    against = found["contamination"]["against"]
    assert [(each["line"], each["kind"]) for each in against[str(evaluation)]["matches"]] == [(1, "exact")]
    assert against["embedded"]["matches"] == []
    lengths = found["tokens"][str(tiny_base)]
    assert lengths["p50"] <= lengths["p90"] <= lengths["max"] < 512
    assert lengths["over_512"] == lengths["over_1024"] == 0
    assert found["sources"] == {"GSM8K": 1, "MATH": 1}


def test_problems_with_solutions_are_checked_too(evaluation: Path) -> None:
    found = json.loads(check(evaluation, "--against", evaluation, "--json").stdout)
    assert (found["kind"], found["rows"], found["questions"]) == ("problems", 1, 1)
    assert found["contamination"]["against"][str(evaluation)]["exact"] == 1


def test_faults_are_one_line(tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    rows.write_text(rows.read_text() + "{")
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "none"))
    for source, said in {
        tmp_path / "empty.jsonl": "empty.jsonl: no usable row among 0",
        rows: "rows.jsonl:6: broken JSON",
        "nothing.jsonl": "nothing.jsonl: no such file; give a file of rows, embedded",
    }.items():
        done = check(source)
        assert done.exit_code == 1
        assert done.output.startswith("error: ")
        assert len(done.output.splitlines()) == 1
        assert said in done.output


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("math-shepherd", "download math-shepherd.jsonl"),
        ("trl-stepwise", "download its train Parquet file"),
        ("prm800k", "download phase2_train.jsonl"),
        ("gsm8k", "put train.jsonl"),
    ],
)
def test_without_a_network_one_line_says_which_file_goes_where(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    done = check(name)
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert "not in the Hugging Face cache" in done.output
    assert "HF_HUB_OFFLINE is set" in done.output
    assert file in done.output


def _train(tiny_base: Path, rows: Path, *arguments: str) -> Result:
    keys = [
        f"base={tiny_base}",
        "lora.targets=all-linear",
        "eval_fraction=0",
        "max_steps=1",
        "tensorboard=false",
    ]
    options = [part for key in keys for part in ("--set", key)]
    return CliRunner().invoke(
        cli, ["train-prm", "--data", str(rows), "--dry-run", "--json", *options, *arguments]
    )


def test_train_prm_refuses_evaluation_problems_unless_told_otherwise(
    tiny: Any, tiny_base: Path, tmp_path: Path
) -> None:
    made = tiny.make_rows(12)
    rows = tiny.write_rows(tmp_path / "rows.jsonl", made)
    evaluation = tmp_path / "test.jsonl"
    problem = {"id": "1", "question": made[4].question.upper(), "answer": "1"}
    evaluation.write_text(json.dumps(problem) + "\n")
    named = ("--set", f"evaluation_problems=[{evaluation}]")
    refused = _train(tiny_base, rows, *named)
    assert refused.exit_code == 1
    assert refused.output.startswith(f"error: {rows}:5: the question 'Tom has")
    assert "1 of 3 training questions" in refused.output
    dropped = json.loads(_train(tiny_base, rows, *named, "--set", "drop_contaminated=true").stdout)
    assert dropped["rows_to_train_on"] == 8
    allowed = json.loads(_train(tiny_base, rows, *named, "--set", "allow_contamination=true").stdout)
    assert allowed["rows_to_train_on"] == 12
