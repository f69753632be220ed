"""`shepherd grpo` as a user runs it: train, sample, resume to the same bytes, sentinels, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli

Grpo = Callable[..., Result]
WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture
def grpo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grpo:
    """Run grpo for three small generation batches; later options win."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        keys = [
            "rollouts=48", "prompts=4", "generations=4", "per_device=8", "update.lora.rank=4", "threads=1",
            "measure.validation.limit=6", "measure.test.limit=8", "measure.n=2", "measure.temperatures=[1.0]",
            "measure.bootstrap=100", "eval_every=2", "checkpoint_every=1", "gates.max_resamples=0",
        ]  # fmt: skip
        options = [part for key in keys for part in ("--set", key)]
        return CliRunner().invoke(cli, ["grpo", *options, *arguments])

    return run


def batches(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's batches.jsonl."""
    return [json.loads(line) for line in (run / "batches.jsonl").read_text().splitlines()]


def test_it_trains_an_adapter_that_generate_samples_from(grpo: Grpo, tmp_path: Path) -> None:
    done = grpo("--out", "out", "--set", "gates.max_resamples=1", "--set", "rewards.short_response=0.1")
    assert done.exit_code == 0, done.output
    assert "rollouts by transformers, not vLLM: the extra vllm is not installed" in done.stderr
    assert "rollouts: 48/48" in done.stderr
    assert "greedy pass@1" in done.stdout
    assert "use it: shepherd generate --set adapter=out" in done.stdout
    assert "{'loss'" not in done.output  # TRL's own log
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "config.yaml", "manifest.json", "metrics.jsonl", "run.log", "results.json", "adapter", "checkpoints",
        "batches.jsonl", "batches.png", "evaluations", "measures", "DONE",
    }  # fmt: skip
    rows = batches(out)
    result = json.loads((out / "results.json").read_text())
    assert result["rollouts"] == rows[-1]["rollouts"] <= 48
    assert result["rollouts"] == 4 * sum(result["groups"].values()) == 4 * result["problems_asked"]
    assert {"reward_outcome", "reward_process", "reward_short_response", "reward"} <= set(rows[0])
    assert {"kl", "entropy", "tokens", "steps", "groups", "loss", "gradient_norm"} <= set(rows[0])
    assert result["stopped_by"] is None
    assert result["evaluations"][0]["batch"] == 0
    assert result["test"]["before"]["problems"] == 8
    assert result["policy"] != result["reference"]
    assert (out / "batches.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "adapter" / "adapter_config.json").read_text())["r"] == 4
    sampled = CliRunner().invoke(
        cli, ["generate", "--set", "adapter=out", "--set", "problems.limit=2", "--out", "sampled"]
    )
    assert sampled.exit_code == 0, sampled.output
    again = CliRunner().invoke(cli, ["grpo", "--resume", "out", "--json"])
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert found["test"] == result["test"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [
        ("update.num_iterations=2", "update.lora.dropout=0.3", "gates.max_resamples=2"),
        ("update.quantization=nf4", "update.gradient_checkpointing=true", "accumulation=2"),
    ],
    ids=["two iterations", "nf4"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["between batches", "inside a batch"])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    grpo: Grpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], inside: bool
) -> None:
    """Killed in the third batch: before its first step, or between two of its steps."""
    from generation.learn.grpo.trainer import GroupTrainer

    options = [part for key in keys for part in ("--set", key)]
    whole = grpo(*options, "--out", "whole")
    assert whole.exit_code == 0, whole.output
    made = GroupTrainer._generate_and_score_completions
    step = GroupTrainer.training_step
    batch = 0

    def counted(self: GroupTrainer, inputs: Any) -> Any:
        nonlocal batch
        batch += 1
        if batch == 3 and not inside:
            raise KeyboardInterrupt
        return made(self, inputs)

    def stepped(self: GroupTrainer, *arguments: Any, **more: Any) -> Any:
        found = step(self, *arguments, **more)
        if batch == 3 and inside:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(GroupTrainer, "_generate_and_score_completions", counted)
    monkeypatch.setattr(GroupTrainer, "training_step", stepped)
    stopped = grpo(*options, "--out", "stopped")
    assert stopped.exit_code == 130, stopped.output
    assert "go on with: shepherd grpo --resume stopped" in stopped.stderr
    assert not (tmp_path / "stopped" / WEIGHTS).exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["grpo", "--resume", "stopped", "--json"])
    assert done.exit_code == 0, done.output
    assert "resumed after generation batch 2" in (tmp_path / "stopped" / "run.log").read_text()
    for name in (WEIGHTS, "batches.jsonl", "results.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
