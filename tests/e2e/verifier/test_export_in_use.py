"""From training through `shepherd export` to use: what comes out does what the run it came from does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from shepherd.cli import cli

KEYS = {
    "train-prm": ("max_steps=2", "limit=60", "batch_tokens=2048", "learning_rate=0.02", "threads=1",
                  "tensorboard=false", "quantization=none"),
    "sft": ("max_steps=2", "limit=60", "batch_size=8", "learning_rate=0.02", "eval_fraction=0", "threads=1"),
    "generate": ("problems.limit=5", "n=2", "sampling.max_new_tokens=60"),
    "rerank": ("pool.file=embedded", "problems.limit=10", "n=4", "evaluation.bootstrap=100",
               "evaluation.subsets=2", "threads=1"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(command: str, *arguments: str) -> Any:
    keys = [part for key in KEYS.get(command, ()) for part in ("--set", key)]
    done = CliRunner().invoke(cli, [command, *keys, *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _texts(*arguments: str) -> list[str]:
    pool = _run("generate", *arguments)["pool"]
    return [each["text"] for line in _lines(Path(pool)) for each in line["candidates"]]


def _scores(folder: Path, verifier: str) -> list[list[float]]:
    """The lowest step score of each candidate of each problem, as `shepherd rerank` leaves them."""
    _run("rerank", "--verifier", verifier, "--out", f"by-{Path(verifier).name}")
    lines = _lines(folder / f"by-{Path(verifier).name}" / "scores.jsonl")
    return [[min(steps, default=0.0) for steps in line["step_scores"]] for line in lines]


def test_an_exported_generator_says_what_its_adapter_says() -> None:
    _run("sft", "--out", "tuned")
    found = _run("export", "tuned", "--dtype", "float32", "--out", "merged")
    assert (found["kind"], found["base"], found["dtype"]) == ("generator", "embedded:weak", "float32")
    for temperature in ("0", "0.7"):
        how = ("--set", f"sampling.temperature={temperature}")
        adapted = _texts("--set", "adapter=tuned", *how)
        assert _texts("--model", "merged", *how) == adapted
        assert _texts(*how) != adapted


def test_an_exported_verifier_picks_what_its_run_picks(folder: Path) -> None:
    _run("train-prm", "--out", "trained")
    assert _run("export", "trained", "--dtype", "float32", "--out", "merged")["largest_difference"] < 1e-4
    own, merged = _scores(folder, "trained"), _scores(folder, "merged")
    np.testing.assert_allclose(merged, own, atol=1e-4)
    assert [np.argmax(each) for each in merged] == [np.argmax(each) for each in own]
    assert np.std(own) > 0.01


def test_the_packaged_verifier_is_exported_scored_with_and_picks_alike(folder: Path) -> None:
    """It reads its base in 4 bits and its export does not: a pick may change where two are all but level."""
    _run("export", "embedded", "--out", "merged")
    assert _run("score", "--verifier", "merged", "--dry-run")["config"]["verifier"] == "merged"
    own, merged = _scores(folder, "embedded"), _scores(folder, "merged")
    lost = [max(each) - each[int(np.argmax(other))] for each, other in zip(own, merged, strict=True)]
    assert max(lost) < 0.02
    assert sum(each == 0 for each in lost) > 0.7 * len(lost)
