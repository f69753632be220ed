"""`shepherd compare` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from generation.compare.config import CompareConfig
from shepherd.cli import cli
from shepherd.config import list_configs, load_config
from shepherd.files import read_jsonl
from verifier.encoder import load_encode

QUICK = ("--set", "bootstrap=200")


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def write_pool(path: Path, answers: list[list[int]]) -> Path:
    rows = [
        {
            "id": f"p{number}",
            "question": f"What is {number}?",
            "answer": "1",
            "candidates": [{"text": f"Step 1: so it is. The answer is: {answer}"} for answer in each],
        }
        for number, each in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("name", list_configs("compare"))
def test_every_shipped_config_plans_every_stage(name: str) -> None:
    done = compare("--config", name, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    config = load_config(CompareConfig, "compare", name)
    stages = set(json.loads(done.stdout)["memory"])
    for generator in config.generators:
        assert f"sampling, {generator}" in stages
        assert {f"scoring, {generator}, {verifier}" for verifier in config.verifiers} <= stages


def test_two_generators_are_sampled_scored_and_compared(tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = ("--set", "problems.limit=4", "--n", 2, *QUICK)
    done = compare(*few, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(cell["generator"], cell["verifier"]) for cell in found["cells"]] == [
        ("weak", "packaged"),
        ("strong", "packaged"),
    ]
    assert {path.name for path in out.iterdir()} >= {"DONE", "results.json", "compare.png", "weak", "strong"}
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    _check_cost(found["cells"][0], out / "weak" / "pool.jsonl")
    table = compare("--resume", out)
    assert "the gains differ by" in " ".join(table.stdout.split())
    page = CliRunner().invoke(cli, ["report", str(out), "--out", str(tmp_path / "report"), "--json"])
    assert page.exit_code == 0, page.output
    (shown,) = json.loads(page.stdout)["runs"]
    assert [(each["title"].rpartition(": ")[2], each["problems"]) for each in shown["viewers"]] == [
        ("weak, packaged", 4),
        ("strong, packaged", 4),
    ]
    assert shown["notes"] == []
    # A second comparison with another verifier's name finds candidates and scores in the store.
    again = compare(*few, "--verifier", "mine=embedded", "--out", tmp_path / "again", "--json")
    assert "sampling" not in again.stderr
    assert json.loads(again.stdout)["cells"][0]["report"]["rules"] == found["cells"][0]["report"]["rules"]


def test_a_killed_comparison_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    few = ("--set", "problems.limit=16", "--n", "2", "--no-store", *QUICK)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = compare(*few, "--out", whole)
    assert done.exit_code == 0, done.output
    command = [sys.executable, "-m", "shepherd", "compare", *few, "--out", str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    pool = killed / "strong" / "pool.jsonl"
    while process.poll() is None and not pool.exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "DONE").exists(), "it was not killed in time"
    with pool.open("ab") as handle:
        handle.write(b'{"schema_version": 1, "id": "test-0-')  # what a kill inside a write leaves
    resumed = compare("--resume", killed)
    assert resumed.exit_code == 0, resumed.output
    made = [
        path.relative_to(whole) for path in sorted(whole.rglob("*.json*")) if path.name != "manifest.json"
    ]
    assert Path("strong/packaged.scores.jsonl") in made
    assert Path("results.json") in made
    for each in made:
        assert (killed / each).read_bytes() == (whole / each).read_bytes(), each


def _check_cost(cell: Any, pool: Path) -> None:
    rows = [row for _, row in read_jsonl(pool)]
    candidates = [(row["question"], each) for row in rows for each in row["candidates"]]
    mean = sum(each["tokens"] for _, each in candidates) / len(candidates)
    assert cell["cost"]["generated_tokens"] == pytest.approx(mean)
    encode = load_encode("embedded")
    steps = [(question, each["text"].replace("ки", "").strip().split("\n")) for question, each in candidates]
    read = sum(len(each.ids) for each in encode([(q, [step.strip() for step in s]) for q, s in steps]))
    assert cell["cost"]["scored_tokens"] == pytest.approx(read / len(candidates))
    operations = 2 * (mean * cell["cost"]["generator_parameters"])
    assert cell["cost"]["points"][0]["operations"] > operations


def test_pools_are_compared_on_the_problems_that_both_have(tmp_path: Path) -> None:
    mine = write_pool(tmp_path / "mine.jsonl", [[1, 1, 2]] * 8 + [[2, 2, 1]] * 2)
    theirs = write_pool(tmp_path / "theirs.jsonl", [[2, 2, 1]] * 8)
    pools = ("--pool", f"mine={mine}", "--pool", f"theirs={theirs}", "--no-verifier", *QUICK)
    done = compare(*pools, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["problems"], found["problems_left_out"]) == (8, {"mine": 2, "theirs": 0})
    assert found["n"] == 3
    (only,) = found["differences"]
    assert only["what"] == "theirs minus mine, majority vote"
    assert only["difference"] == -1
    assert only["verdict"] == "worse than mine"
    assert found["cells"][0]["cost"]["generated_tokens"] is None
    shown = compare("--resume", tmp_path / "run")
    assert "2 of mine" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pool", "a"], "--pool a: expected NAME=…, as in --pool mine=a"),
        (["--pool-format", "subq"], "--pool-format: of which pool?"),
        (["--verifier", "a=embedded", "--no-verifier"], "exclude each other"),
        (["--generator", "a=x", "--generator", "a=y"], "a name stands there twice"),
        (["--pool", "a=nowhere.jsonl", "--pool", "b=nowhere.jsonl"], "nowhere.jsonl"),
        (["--verifier", "mine=nowhere"], "nowhere: no verifier.json and no config.json"),
        (["--set", "generators.weak.overrides=[modle=x]"], "weak"),
        (["--set", "generators={alone: {}}"], "generators"),
        (
            ["--set", "verifiers.packaged.overrides=[calibration=temperature,calibration_from=nowhere]"],
            "nowhere",
        ),
        (["--verifier", "scores=embedded"], "'scores' is what the cells without a verifier of their own"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_no_run(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = compare(*arguments)
    assert refused.exit_code == 1, refused.output
    assert said in refused.stderr.splitlines()[-1]
    assert not any(tmp_path.iterdir())
