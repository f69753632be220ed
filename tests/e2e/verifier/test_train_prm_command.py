"""`shepherd train-prm` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli
from verifier import load_verifier

Command = Callable[..., Result]


@pytest.fixture
def train(tiny_base: Path, tiny_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run train-prm on the tiny base; later options win."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, data: str | None = str(tiny_rows)) -> Result:
        keys = ["max_steps=2", "batch_tokens=700", "tensorboard=false", f"base={tiny_base}", "threads=1"]
        keys += ["lora.rank=8", "lora.targets=all-linear"]
        options = [part for key in keys for part in ("--set", key)]
        if data is not None:
            options += ["--data", data]
        return CliRunner().invoke(cli, ["train-prm", *options, *arguments])

    return run


def test_it_trains_and_shows_each_metric_beside_its_baseline(train: Command, tmp_path: Path) -> None:
    done = train("--out", "out", "--seed", "3")
    assert done.exit_code == 0, done.output
    for word in ("held-out step metrics", "position alone", "auc_within_question", "labelled steps"):
        assert word in done.stdout
    out = tmp_path / "out"
    files = {path.name for path in out.iterdir()}
    expected = {
        "config.yaml",
        "manifest.json",
        "metrics.jsonl",
        "run.log",
        "results.json",
        "verifier",
        "DONE",
    }
    assert expected <= files
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == "train-prm"
    assert manifest["seeds"] == {"training": 3}
    assert len(manifest["inputs"]) == 1
    assert load_verifier(str(out)).score("How many?", ["1 + 1 = 2."])[0][0] > 0


def test_layers_that_the_base_has_not_are_refused_with_the_way_out(train: Command) -> None:
    """The shipped config adapts layers of the shipped base; another base may have none of that name."""
    done = train("--set", r"lora.targets=.*layers\.[45]\..*_proj", "--out", "out")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: lora.targets: Target modules")
    assert "--set lora.targets=all-linear" in done.stderr


def test_json_and_a_second_look_at_a_finished_run(train: Command, tmp_path: Path) -> None:
    done = train("--out", "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["steps"] == 2
    assert found["metrics"]["auc"].keys() == {"value", "baseline"}
    assert found["counts"]["read"] == {
        "read": 240,
        "kept": 240,
        "duplicates": 0,
        "oddities": {},
        "skipped": {},
    }
    again = CliRunner().invoke(cli, ["train-prm", "--resume", "out", "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == found


def test_a_dry_run_says_how_much_work_it_is_and_writes_nothing(train: Command, tmp_path: Path) -> None:
    done = train("--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["config"]["lora"]["rank"] == 8
    assert found["trainable_parameters"] == 2 * (4 * 2 * 8 * 32 + 3 * 8 * 96)
    assert found["steps"] == 2
    assert found["tokens"] > 0
    plain = train("--dry-run")
    assert "quantization: nf4" in plain.stdout
    assert "trainable parameters" in plain.stdout
    assert not any(tmp_path.iterdir())


def test_oddities_are_counted_in_the_output(train: Command, tmp_path: Path) -> None:
    rows = [
        {"input": "2 + 2? Step 1: 4 ки", "label": "2 + 2? Step 1: 4 +", "task": "GSM8K"},
        {"input": "2 + 3? step 1: 4 ки", "label": "2 + 3? step 1: 4 -", "task": "GSM8K"},
        {"input": "2 + 4? 6 ки", "label": "2 + 4? 6 +", "task": "GSM8K"},
        {"input": "2 + 5? Step 1: 7 ки", "label": "2 + 5? Step 1: 7 ", "task": "GSM8K"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = train(data=str(path))
    assert refused.exit_code == 1
    assert refused.stderr.startswith(
        f"error: {path}:4: 1 tags but label ends after 0 of them (labels_end_early)"
    )
    done = train("--set", "on_bad_row=skip", "--set", "eval_fraction=0", "--out", "out", data=str(path))
    assert done.exit_code == 0, done.output
    assert "repaired or noted: lower_case_header 1" in done.stdout
    assert "left out: labels_end_early 1, no_header 1" in done.stdout
    log = (tmp_path / "out" / "run.log").read_text()
    assert f"{path}:3: skipped (no_header)" in log


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input": "How?', "broken JSON"),
        ('{"input": "How? Step 1: a ки", "task": "GSM8K"}', 'no "label" field'),
        (
            '{"input": "How? Step 1: a ки", "label": "How? Step 1: b +", "task": "GSM8K"}',
            "label differs from input",
        ),
    ],
)
def test_bad_input_is_told_with_file_and_line(train: Command, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "How?", "completions": ["a"], "labels": [true]}\n' + line + "\n")
    done = train(data=str(path))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {path}:2: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_keys_and_files_are_told(train: Command, tmp_path: Path) -> None:
    done = train("--set", "learning_rte=1")
    assert done.exit_code == 1
    assert "did you mean learning_rate?" in done.stderr
    done = train(data=str(tmp_path / "nothing.jsonl"))
    assert done.exit_code == 1
    assert "nothing.jsonl: no such file; give a file of rows" in done.stderr
    done = CliRunner().invoke(cli, ["train-prm", "--resume", "runs/nothing"])
    assert done.exit_code == 1
    assert "no run here" in done.stderr


def test_a_resumed_run_keeps_its_config(train: Command) -> None:
    done = train("--resume", "out")
    assert done.exit_code == 1
    assert "a resumed run keeps its config" in done.stderr


def test_a_stopped_run_goes_on_to_the_same_bytes(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.training import Trainer

    keys = ["--set", "max_steps=6", "--set", "checkpoint_every=2"]
    assert train(*keys, "--out", "whole").exit_code == 0
    step = Trainer._step

    def interrupted(self: Trainer, number: int) -> dict[str, Any]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    stopped = train(*keys, "--out", "stopped")
    assert stopped.exit_code == 130
    assert "go on with: shepherd train-prm --resume stopped" in stopped.stderr
    monkeypatch.setattr(Trainer, "_step", step)
    done = CliRunner().invoke(cli, ["train-prm", "--resume", "stopped", "--json"])
    assert done.exit_code == 0, done.output
    weights = "verifier/adapter/adapter_model.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_outcome_head_and_handed_out_ranks_are_shown(train: Command, tmp_path: Path, dtype: str) -> None:
    keys = ["head=outcome", "loss=pair", "outcome.loss=pairwise", "lora.kind=adalora", "lora.rank=4"]
    keys += ["lora.targets=[q_proj,v_proj]", "max_steps=4", "quantization=none", f"dtype={dtype}"]
    done = train(*(part for key in keys for part in ("--set", key)), "--out", "out")
    assert done.exit_code == 0, done.output
    for words in (
        "held-out metrics, outcome head",
        "solution_auc",
        "no pair: ",
        "AdaLoRA: 16 singular values",
    ):
        assert words in done.stdout
    assert load_verifier(str(tmp_path / "out")).rule == "last"


def test_a_schedule_that_does_not_fit_leaves_no_run(train: Command, tmp_path: Path) -> None:
    keys = ["lora.kind=adalora", "lora.adalora.tinit=1", "lora.adalora.tfinal=1"]
    done = train(*(part for key in keys for part in ("--set", key)))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: lora.adalora: tinit 1 and tfinal 1 leave no step of 2")
    assert not (tmp_path / "runs").exists()
