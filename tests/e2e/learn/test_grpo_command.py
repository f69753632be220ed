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


def test_batches_that_keep_no_group_teach_nothing_and_the_run_goes_on(grpo: Grpo, tmp_path: Path) -> None:
    done = grpo("--out", "out", "--set", "gates.minimum_quality=100")
    assert done.exit_code == 0, done.output
    rows = batches(tmp_path / "out")
    assert [each["batch"] for each in rows] == [1, 2, 3]
    assert {each["entropy"] for each in rows} == {None}
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["groups"]["kept"] == 0 and sum(result["groups"].values()) == 12
    assert result["test"]["differences"]["greedy"]["difference"] == 0


ITERATIONS = ("update.num_iterations=2", "update.lora.dropout=0.3", "gates.max_resamples=2", "rollouts=96")
FOUR_BITS = ("update.quantization=nf4", "update.gradient_checkpointing=true", "accumulation=2")
GIVEN = ("adapter=first", "update.beta=0.5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "where"),
    [
        pytest.param(ITERATIONS, "between", id="iterations, between batches"),
        pytest.param(ITERATIONS, "inside", id="iterations, inside a batch"),
        pytest.param(ITERATIONS, "end", id="iterations, at the end"),
        pytest.param(FOUR_BITS, "inside", id="4 bits, inside a batch"),
        pytest.param(GIVEN, "between", id="a given adapter, between batches"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    grpo: Grpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], where: str
) -> None:
    """Killed in the third batch, before its first step or between two of its steps; or after training."""
    from generation.learn.grpo import train
    from generation.learn.grpo.trainer import GroupTrainer

    if "adapter=first" in keys:
        first = grpo("--set", "update.learning_rate=0.01", "--out", "first")
        assert first.exit_code == 0, first.output
    options = [part for key in keys for part in ("--set", key)]
    whole = grpo(*options, "--out", "whole")
    assert whole.exit_code == 0, whole.output
    made, step, last = (
        GroupTrainer._generate_and_score_completions,
        GroupTrainer.training_step,
        train.best_temperature,
    )
    batch = 0

    def generated(self: GroupTrainer, inputs: Any) -> Any:
        nonlocal batch
        batch += 1
        if batch == 3 and where == "between":
            raise KeyboardInterrupt
        return made(self, inputs)

    def stepped(self: GroupTrainer, *arguments: Any, **more: Any) -> Any:
        found = step(self, *arguments, **more)
        if batch == 3 and where == "inside":
            raise KeyboardInterrupt
        return found

    def measured(*arguments: Any) -> float:
        if where == "end":
            raise KeyboardInterrupt
        return last(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(GroupTrainer, "_generate_and_score_completions", generated)
        patch.setattr(GroupTrainer, "training_step", stepped)
        patch.setattr(train, "best_temperature", measured)
        stopped = grpo(*options, "--out", "stopped")
    assert stopped.exit_code == 130, stopped.output
    assert "go on with: shepherd grpo --resume stopped" in stopped.stderr
    assert (tmp_path / "stopped" / WEIGHTS).exists() == (where == "end")
    done = CliRunner().invoke(cli, ["grpo", "--resume", "stopped", "--json"])
    assert done.exit_code == 0, done.output
    log = (tmp_path / "stopped" / "run.log").read_text()
    assert f"resumed after generation batch {batch if where == 'end' else 2}" in log
    for name in (WEIGHTS, "batches.jsonl", "results.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


HACKS = '''
def praise(question, completion, answer, step_scores):
    """Pays for whatever stands after the answer."""
    return float(min(len(completion.partition("The answer is:")[2]), 200))


def separator(question, completion, answer, step_scores):
    """Pays for every step that is not closed by the tag."""
    return -float(completion.count("ки"))


def broken(question, completion, answer, step_scores):
    return 1 / 0


def nan(question, completion, answer, step_scores):
    return float("nan")
'''


@pytest.fixture
def hacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of rewards that can be gamed."""
    (tmp_path / "hacked_rewards.py").write_text(HACKS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("hacks")
@pytest.mark.parametrize(
    ("reward", "sentinels"),
    [
        ("praise", {"after_answer", "no_answer", "cut", "tokens", "no_steps", "off_format"}),
        ("separator", {"steps", "off_format", "no_steps", "no_answer"}),
    ],
)
def test_a_policy_that_games_its_reward_is_stopped(
    grpo: Grpo, tmp_path: Path, reward: str, sentinels: set[str]
) -> None:
    """Nothing is scripted but the reward: a large learning rate finds the hack within a few batches."""
    keys = [
        "prompts=8", "generations=8", "per_device=64", "rollouts=1280", "sampling.temperature=1.5",
        "sampling.max_new_tokens=160", "update.learning_rate=0.01", "update.beta=0", "verifier=null",
        "rewards.outcome=0", "rewards.process=0", f"rewards.custom={{'hacked_rewards:{reward}': 1.0}}",
        "sentinels.window=2", "sentinels.start=1", "checkpoint_every=4",
    ]  # fmt: skip
    options = [part for key in keys for part in ("--set", key)]
    done = grpo(*options, "--out", "out")
    assert done.exit_code == 1, done.output
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: out: stopped after generation batch ")
    assert "at the start" in line  # the numbers
    out = tmp_path / "out"
    assert (out / "DONE").exists()
    result = json.loads((out / "results.json").read_text())
    stopped = result["stopped_by"]
    assert stopped["sentinel"] in sentinels
    assert stopped["batch"] == result["batches"] < 20
    assert stopped["kept_batch"] < stopped["batch"]
    assert f"adapter/ is that of batch {stopped['kept_batch']}" in line
    kept = out / "evaluations" / f"batch-{stopped['kept_batch']:06d}" / WEIGHTS
    assert (out / WEIGHTS).read_bytes() == kept.read_bytes()
    again = CliRunner().invoke(cli, ["grpo", "--resume", "out"])
    assert again.exit_code == 1
    assert again.stderr.strip() == line


@pytest.mark.usefixtures("hacks")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "rewards.custom={'hacked_rewards:none': 1}"), "hacked_rewards has no function none"),
        (("--set", "rewards.custom={'no_such_module:f': 1}"), "no module no_such_module"),
        (("--set", "rewards.custom={'hacked_rewards:broken': 1}"), "ZeroDivisionError (division by zero)"),
        (("--set", "rewards.custom={'hacked_rewards:nan': 1}"), "gave float nan; a reward is a finite"),
        (("--set", "problems.split=test", "--set", "problems.limit=20"), "asks what a training problem asks"),
        (("--set", "problems.limit=3"), "problems: 3 to train on, and a generation batch asks 4"),
        (("--set", "sampling.max_new_tokens=5"), "none of the 16 completions of the first batch states"),
        (("--set", "prompt.chat=true"), "the tokenizer has no chat template"),
        (("--verifier", "nothing"), "nothing"),
        (("--set", "update.lora.targets=nothing"), "lora.targets: "),
        (("--set", "adapter=nothing"), "adapter nothing: no adapter_config.json"),
        (("--set", "engine=vllm"), "needs the extra 'vllm"),
        (("--set", "scorer=vllm"), "needs the extra 'vllm"),
        (("--resume", "out", "--n", "4"), "a resumed run keeps its config"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(grpo: Grpo, arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(cli, ["grpo", *arguments]) if "--resume" in arguments else grpo(*arguments)
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert done.stderr.strip().splitlines()[-1] == lines[0]


def test_a_dry_run_says_how_much_work_it_is_and_writes_nothing(grpo: Grpo, tmp_path: Path) -> None:
    done = grpo("--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["rollouts"], found["completions_a_batch"], found["steps_at_most"]) == (48, 16, 6)
    assert set(found["memory"]) == {"rollouts", "scoring", "update", "measuring"}
    for stage, beside in (
        ("rollouts", {"policy", "verifier"}),
        ("scoring", {"policy"}),
        ("update", {"verifier"}),
    ):
        names = {part["name"].partition(",")[0] for part in found["memory"][stage]["parts"]}
        assert names & {"policy", "verifier"} == beside, stage
    assert not any(tmp_path.iterdir())


def test_a_dry_run_of_the_8b_recipe_needs_no_hub(grpo: Grpo, monkeypatch: pytest.MonkeyPatch) -> None:
    from shepherd import hub

    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    done = CliRunner().invoke(cli, ["grpo", "--config", "llama-3.1-8b", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "model: meta-llama/Llama-3.1-8B-Instruct" in done.stdout
    assert "unknown until the data is" in done.stdout
    assert done.stdout.count("will do)") == 4  # the YAML carries the shapes
