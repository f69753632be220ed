"""`shepherd sft` as a user runs it: train, sample from the adapter, resume to the same bytes, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shepherd import hub
from shepherd.cli import cli

Sft = Callable[..., Result]
WEIGHTS = "adapter/adapter_model.safetensors"


def test_it_trains_an_adapter_that_generate_samples_from(sft: Sft, tmp_path: Path) -> None:
    done = sft("--out", "out", "--seed", "3", "--set", "eval_every=1", "--set", "learning_rate=0.01")
    assert done.exit_code == 0, done.output
    assert "held-out loss a token, after" in done.stdout
    assert "use it: shepherd generate --set adapter=out" in done.stdout
    assert "{'loss'" not in done.output  # TRL's own log
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.yaml", "manifest.json", "metrics.jsonl", "run.log", "results.json", "adapter", "checkpoints",
        "DONE",
    }  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seeds"] == {"training": 3}
    assert any(name.endswith("weak/model.safetensors") for name in manifest["inputs"])
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics if "heldout_loss" in row] == [0, 1, 2]
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_s"} <= set().union(*metrics)
    names = {path.name for path in (out / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "embedded:weak"

    texts = {}
    for name, adapter in {"plain": "null", "run": "out", "folder": "out/adapter"}.items():
        keys = ["problems.limit=3", f"adapter={adapter}", "sampling.max_new_tokens=60", "n=2"]
        options = [part for key in keys for part in ("--set", key)]
        sampled = CliRunner().invoke(cli, ["generate", *options, "--out", name])
        assert sampled.exit_code == 0, sampled.output
        rows = [json.loads(line) for line in (tmp_path / name / "pool.jsonl").read_text().splitlines()]
        found = [each for row in rows for each in row["candidates"]]
        suffix = "" if adapter == "null" else f"+{adapter}"
        assert {each["generator"] for each in found} == {f"embedded:weak{suffix}"}
        texts[name] = [(each["text"], each["logprob"]) for each in found]
    assert texts["run"] == texts["folder"]
    assert [logprob for _, logprob in texts["run"]] != [logprob for _, logprob in texts["plain"]]
    inputs = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert "out/adapter/adapter_model.safetensors" in inputs["inputs"]
    assert inputs["parents"] == ["out"]


def test_json_and_a_second_look_at_a_finished_run(sft: Sft) -> None:
    done = sft("--out", "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["steps"] == 2
    assert found["heldout_loss"] < 1
    assert found["counts"]["train"]["rows"] == 95
    assert found["counts"]["train"]["solution_tokens"] < found["counts"]["train"]["tokens"]
    again = CliRunner().invoke(cli, ["sft", "--resume", "out", "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == found


@pytest.mark.parametrize(
    "keys",
    [
        ("accumulation=2", "lora.dropout=0.3", "optimizer=adamw_torch"),
        ("quantization=nf4", "optimizer=muon", "gradient_checkpointing=true", "epochs=0.5"),
    ],
    ids=["dropout", "nf4"],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    sft: Sft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    """Killed in the fifth step; the checkpoint of the fourth is there, half of another lies beside it."""
    from transformers import Trainer

    options = [part for key in ("max_steps=6", "checkpoint_every=2", *keys) for part in ("--set", key)]
    assert sft(*options, "--out", "whole").exit_code == 0
    step, taken = Trainer.training_step, []

    def counted(self: Trainer, *arguments: object, **more: object) -> object:
        taken.append(self.state.global_step)
        if taken.count(4):
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "training_step", counted)
    stopped = sft(*options, "--out", "stopped")
    assert stopped.exit_code == 130
    assert "go on with: shepherd sft --resume stopped" in stopped.stderr
    assert not (tmp_path / "stopped" / WEIGHTS).exists()
    (tmp_path / "stopped" / "checkpoints" / "step-00000005").mkdir()
    taken.clear()
    monkeypatch.setattr(Trainer, "training_step", step)
    done = CliRunner().invoke(cli, ["sft", "--resume", "stopped", "--json"])
    assert done.exit_code == 0, done.output
    assert "resumed at step 4 of 6" in (tmp_path / "stopped" / "run.log").read_text()
    assert (tmp_path / "stopped" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_a_dry_run_says_how_much_work_it_is_and_writes_nothing(sft: Sft, tmp_path: Path) -> None:
    done = sft("--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["config"]["lora"]["rank"] == 4
    assert found["steps"] == 2
    assert found["solution_tokens"] > 0 and found["tokens"] > 0
    assert found["memory"]["training"]["parts"]
    assert found["trainable_parameters"] == 3 * (4 * 2 * 4 * 96 + 3 * 4 * (96 + 256))
    plain = sft("--dry-run")
    assert "base: embedded:weak" in plain.stdout
    assert "trainable parameters" in plain.stdout
    assert not any(tmp_path.iterdir())


def test_a_dry_run_without_the_hub_says_what_is_unknown(sft: Sft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    done = sft("--config", "tinyllama-gsm8k", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "base: TinyLlama/TinyLlama_v1.1" in done.stdout
    assert "unknown until the data is" in done.stdout
    assert "gsm8k is not on this machine" in done.stdout
    assert "fits 24 GiB" in done.stdout  # the YAML carries the shape


def test_a_broken_row_costs_no_run(sft: Sft, tmp_path: Path) -> None:
    path = tmp_path / "solved.jsonl"
    good = {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
    path.write_text(json.dumps(good) + "\n" + json.dumps({"question": "1 + 2?", "answer": "three"}) + "\n")
    done = sft("--data", str(path))
    assert done.exit_code == 1
    assert done.stderr.startswith(f'error: {path}:2: "answer" does not end in a line')
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_evaluation_problems_among_the_training_questions_are_refused(sft: Sft, tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Tom has {n} red apples and buys {n} more of them. How many?",
            "answer": f"{n}\n#### {n}",
        }
        for n in range(2, 12)
    ]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test.write_text(json.dumps({**rows[4], "question": rows[4]["question"].upper()}) + "\n")
    against = ("--data", str(train), "--set", f'evaluation_problems=["{test}"]')
    refused = sft(*against, "--out", "out")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: {train}:5: the question ")
    assert "--set drop_contaminated=true" in refused.stderr
    assert not (tmp_path / "out").exists()
    left = sft(*against, "--set", "drop_contaminated=true", "--dry-run", "--json")
    assert left.exit_code == 0, left.output
    found = json.loads(left.stdout)
    assert found["rows_to_train_on"] + found["rows_held_out"] == 9
    anyway = json.loads(sft(*against, "--set", "allow_contamination=true", "--dry-run", "--json").stdout)
    assert anyway["rows_to_train_on"] + anyway["rows_held_out"] == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "max_length=20"), "no training row is left"),
        (("--set", "learning_rte=1"), "did you mean learning_rate?"),
        (("--set", "prompt.chat=true"), "the tokenizer has no chat template; set prompt.chat=false"),
        (("--base", "nothing/there", "--dry-run", "--data", "none.jsonl"), "none.jsonl"),
        (("--set", "lora.targets=nothing"), "lora.targets: "),
        (("--resume", "out"), "a resumed run keeps its config"),
    ],
)
def test_what_cannot_be_is_one_line(sft: Sft, arguments: tuple[str, ...], said: str) -> None:
    done = sft(*arguments)
    if "--dry-run" in arguments:
        assert done.exit_code == 0
        assert said in done.stdout
        return
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.strip().count("\n") <= 1


def test_an_adapter_that_is_not_there_or_does_not_fit(sft: Sft, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["generate", "--set", "adapter=nothing", "--set", "problems.limit=2"])
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "error: adapter nothing: no adapter_config.json and adapter_model.safetensors"
    )
    assert sft("--out", "out").exit_code == 0
    keys = ["--set", "adapter=out", "--set", "model=embedded:strong", "--set", "problems.limit=2"]
    done = CliRunner().invoke(cli, ["generate", *keys])
    assert done.exit_code == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(
        "error: adapter out: made for embedded:weak, and does not fit the model embedded:strong: "
    )
    assert "size mismatch" in said
