"""Problems of other shapes through `shepherd generate` and `shepherd rerank`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shepherd import hub
from shepherd.cli import cli


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def test_generate_answers_a_local_gsm8k(tmp_path: Path) -> None:
    rows = [
        {"question": f"Tom has {n} apples. How many?", "answer": f"He has {n}.\n#### {n}"} for n in (2, 3)
    ]
    (tmp_path / "gsm8k").mkdir()
    file = tmp_path / "gsm8k" / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = shepherd(
        "generate", "--problems", tmp_path / "gsm8k", "--set", "problems.split=train", "--n", 2, "--out",
        tmp_path / "run", "--set", "sampling.max_new_tokens=8", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    pool = [json.loads(line) for line in (tmp_path / "run" / "pool.jsonl").read_text().splitlines()]
    assert [(each["id"], each["answer"], each["source"]) for each in pool] == [
        ("gsm8k-1", "2", "gsm8k"),
        ("gsm8k-2", "3", "gsm8k"),
    ]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert str(file) in manifest["inputs"]


def test_generate_without_a_network_says_where_gsm8k_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    done = shepherd("generate", "--problems", "gsm8k", "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert "put test.jsonl" in done.output
    assert not (tmp_path / "run").exists()


def test_rerank_grades_answers_that_are_no_numbers(tmp_path: Path) -> None:
    texts = [r"so \boxed{\frac{\pi}{2}}", r"so \boxed{0.5\pi}", r"so \boxed{2\pi}", "no idea"]
    row = {"id": "1", "question": "?", "answer": r"\pi/2", "candidates": [{"text": text} for text in texts]}
    (tmp_path / "pool.jsonl").write_text(json.dumps(row) + "\n")
    arguments = [
        "rerank",
        "--pool",
        tmp_path / "pool.jsonl",
        "--no-verifier",
        "--set",
        "evaluation.bootstrap=100",
    ]
    done = shepherd(*arguments, "--set", "answers.timeout_s=60", "--json", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["pass_at_1"] == 0.5
    assert report["rules"]["majority"]["accuracy"] == 1.0  # two ways to write one answer are two votes for it
    assert report["policies"]["problems_by_math_verify"] == 1
    shown = shepherd(*arguments, "--set", "answers.timeout_s=60", "--out", tmp_path / "shown")
    assert "1 problems graded by math-verify" in shown.stdout
    exact = shepherd(*arguments, "--set", "answers.grader=exact", "--out", tmp_path / "exact")
    assert exact.exit_code == 1
    assert "none of 1 problems has a gold answer that can be read" in exact.output
