"""`shepherd compare-heads` as a user runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli
from shepherd.records import Candidate, Problem, ProblemPool, write_pool

Command = Callable[..., Result]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Six problems with three candidates: one right, two that agree on something else."""
    pools = [
        ProblemPool(
            Problem(str(a), f"Tom has {a} apples, buys 2 and then 1. How many apples?", str(a + 3)),
            tuple(
                Candidate(f"Step 1: {a} + 2 = {a + 2}.\nStep 2: {a + 2} + 1 = {end}. The answer is: {end}")
                for end in (a + 3, a + 4, a + 4)
            ),
        )
        for a in range(6)
    ]
    write_pool(tmp_path / "pool.jsonl", pools)
    return tmp_path / "pool.jsonl"


@pytest.fixture
def compare(
    tiny_base: Path, tiny_rows: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run compare-heads on the tiny base; later options win."""
    monkeypatch.chdir(tmp_path)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # the trainings' processes run this code too

    def run(*arguments: str) -> Result:
        keys = ["max_steps=2", "batch_tokens=700", "tensorboard=false", f"base={tiny_base}", "threads=1"]
        keys += ["lora.rank=4", "lora.targets=all-linear", "optimizer=adamw_torch"]
        options = [part for key in keys for part in ("--set", key)]
        options += ["--data", str(tiny_rows), "--pool", str(pool)]
        return CliRunner().invoke(cli, ["compare-heads", *options, *arguments])

    return run


@pytest.mark.slow
@pytest.mark.timeout(900)  # three trainings, each a process that imports torch
def test_each_head_is_trained_once_and_stands_beside_the_others(
    compare: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compare("--out", "out", "--json", "--seed", "1")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert list(found["heads"]) == ["lm", "classifier", "outcome"]
    assert [each["rule"] for each in found["heads"].values()] == ["min", "min", "last"]
    assert (found["n"], found["problems"]) == (3, 6)
    for head, each in found["heads"].items():
        assert 0 <= each["best_of_n"]["accuracy"] <= 1
        assert each["metrics"]["auc"].keys() == {"value", "baseline"}
        assert each["peak_memory_bytes"] > 100 << 20
        manifest = json.loads((tmp_path / "out" / head / "manifest.json").read_text())
        assert manifest["command"] == "train-prm"
        assert manifest["seeds"] == {"training": 1}
    added = [each["trainable_parameters"] for each in found["heads"].values()]
    assert [value - added[0] for value in added] == [0, 66, 33]
    assert list(found["differences"]) == [
        "classifier_minus_lm", "outcome_minus_lm", "outcome_minus_classifier"
    ]  # fmt: skip
    for name, each in found["differences"].items():
        one, other = name.split("_minus_")
        expected = (
            found["heads"][one]["best_of_n"]["accuracy"] - found["heads"][other]["best_of_n"]["accuracy"]
        )
        assert each["difference"] == pytest.approx(expected)
        assert each["ci95"][0] <= each["difference"] <= each["ci95"][1]

    table = CliRunner().invoke(cli, ["compare-heads", "--resume", "out"])
    for word in ("step AUC", "of position alone", "best of 3", "by last", "peak memory", "majority vote"):
        assert word in table.stdout

    # Stopped after two of three: the finished ones are not touched, and the result is the same.
    (tmp_path / "out" / "DONE").unlink()
    (tmp_path / "out" / "results.json").unlink()
    (tmp_path / "out" / "outcome" / "DONE").unlink()
    kept = (tmp_path / "out" / "lm" / "results.json").stat().st_mtime_ns
    again = CliRunner().invoke(cli, ["compare-heads", "--resume", "out", "--json"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "out" / "lm" / "results.json").stat().st_mtime_ns == kept

    def timeless(result: dict[str, Any]) -> dict[str, Any]:
        for each in result["heads"].values():
            del each["peak_memory_bytes"], each["train_s"]
        return result

    assert timeless(json.loads(again.stdout)) == timeless(found)


def test_a_training_that_fails_is_named_with_the_way_on(
    compare: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.compare import run

    asked: list[list[str]] = []

    def fail(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(run, "subprocess", SimpleNamespace(run=fail, DEVNULL=None))
    done = compare("--out", "out", "--heads", "classifier", "--no-store")
    assert done.exit_code == 1
    assert "head classifier: its training ended with exit code 1" in done.stderr
    assert "shepherd compare-heads --resume out" in done.stderr
    config = (tmp_path / "out" / "classifier.yaml").read_text()
    assert "head: classifier" in config
    assert "loss: pair" in config
    assert "store: false" in config
    assert asked[0][-4:] == ["--config", "out/classifier.yaml", "--out", "out/classifier"]
    other = CliRunner().invoke(cli, ["compare-heads", "--resume", "out", "--no-store"])
    assert "--resume out: a resumed run keeps its config; drop the other options" in other.stderr


def test_a_dry_run_trains_nothing(compare: Command, tmp_path: Path) -> None:
    done = compare("--dry-run", "--heads", "lm,outcome", "--json")
    assert done.exit_code == 0, done.output
    config = json.loads(done.stdout)["config"]
    assert config["heads"] == ["lm", "outcome"]
    assert config["train"]["store"]
    without = json.loads(compare("--dry-run", "--json", "--no-store").stdout)["config"]
    assert not without["train"]["store"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--heads", "lm,crystal"], "--heads lm,crystal: give some of lm, classifier, outcome"),
        (["--heads", "lm,lm"], "each once"),
        (["--set", "head=classifier"], "choose them with --heads"),
        (
            ["--set", "outcome.loss=pairwise", "--set", "class_weighting=balanced"],
            "head outcome: class_weighting",
        ),
        (["--pool", "nothing.jsonl"], "nothing.jsonl: no such pool"),
        (["--data", "nothing.jsonl"], "nothing.jsonl: no such file; give a file of rows"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(
    compare: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = compare(*arguments)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "runs").exists()
