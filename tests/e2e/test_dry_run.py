"""Every shipped config dry-runs with no hub and no data; what it says of memory is in its header."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli
from shepherd.config import configs_folder, list_configs
from verifier.dry_run import size
from verifier.estimate import GIB
from verifier.estimate.parts import CONTEXT_BYTES
from verifier.machine import Machine

SHIPPED = [
    (folder.name, name)
    for folder in sorted(configs_folder().iterdir())
    if folder.is_dir()
    for name in list_configs(folder.name)
]
REAL = [each for each in SHIPPED if each[0] in {"train_prm", "rerank"} and each[1] != "embedded"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a dry run asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)


def _dry_run(family: str, name: str, *more: str) -> Result:
    limit = ["--set", "limit=200"] if (family, name) == ("train_prm", "embedded") else []
    command = family.replace("_", "-")
    return CliRunner().invoke(cli, [command, "--config", name, "--dry-run", *limit, *more])


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_every_shipped_config_dry_runs(family: str, name: str, tmp_path: Path) -> None:
    done = _dry_run(family, name)
    assert done.exit_code == 0, done.output
    assert "a dry run" in done.stdout
    as_json = _dry_run(family, name, "--json")
    found = json.loads(as_json.stdout)
    assert found["config"]
    assert not any(tmp_path.iterdir()), "a dry run wrote something"


@pytest.mark.parametrize("family", sorted({family for family, _ in SHIPPED}))
def test_every_command_that_uses_the_store_can_be_told_to_go_without(family: str) -> None:
    def stores(*more: str) -> list[bool]:
        done = _dry_run(family, "embedded", "--json", *more)
        assert done.exit_code == 0, done.output
        config = json.loads(done.stdout)["config"]
        return [each["store"] for each in (config, config.get("train") or {}) if "store" in each]

    if stores():
        assert stores("--no-store") == [False]
    else:
        assert family in {"demo", "problems", "sft"}


@pytest.mark.parametrize(("family", "name"), REAL)
def test_the_header_says_what_the_estimate_says(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the card that every plan is held against, whatever is here."""
    monkeypatch.setattr("verifier.machine.find_card", lambda: None)
    found = json.loads(_dry_run(family, name, "--json").stdout)
    totals = {stage: memory["total_bytes"] for stage, memory in found["memory"].items()}
    header = (configs_folder() / family / f"{name}.yaml").read_text("utf-8").partition("\n\n")[0]
    said = re.findall(r"([\d.]+) GiB(?= of GPU memory| to score)", header)
    assert said == [size(total + CONTEXT_BYTES).removesuffix(" GiB") for total in totals.values()]
    assert all(total + CONTEXT_BYTES < 24 * GIB for total in totals.values())


@pytest.mark.parametrize(("family", "name"), REAL)
def test_the_header_has_a_command_and_two_overrides(family: str, name: str) -> None:
    header = (configs_folder() / family / f"{name}.yaml").read_text("utf-8").partition("\n\n")[0]
    command = f"#   shepherd {family.replace('_', '-')} --config {name}"
    assert f"{command}\n" in header
    assert header.count(f"{command} --") >= 2


def test_llama_3_8b_is_shown_to_fit_24_gib() -> None:
    said = _dry_run("train_prm", "llama-3-8b").stdout
    assert "\nfits 24 GiB (16 GiB will do)" in said
    assert re.search(r"trainable parameters\W+167,772,160", said)
    assert re.search(r"steps\W+unknown until the data is", said)
    assert "\nmath-shepherd is not on this machine\n" in said
    for part in ("4-bit base", "adapter", "optimizer", "layer inputs", "logits"):
        assert part in said
    found = json.loads(_dry_run("train_prm", "llama-3-8b", "--json").stdout)
    assert found["steps"] is None
    assert found["unknown"]["steps"] == "math-shepherd is not on this machine"
    whole = _dry_run("train_prm", "llama-3-8b", "--set", "quantization=none", "--set", "dtype=float32").stdout
    assert "\ndoes not fit 24 GiB" in whole


def test_a_model_of_unknown_shape_is_unknown() -> None:
    done = _dry_run("train_prm", "llama-3-8b", "--set", "shape=null", "--set", "base=nobody/nothing")
    assert done.exit_code == 0, done.output
    assert re.search(r"trainable parameters\W+unknown until the model is", done.stdout)
    found = _dry_run("train_prm", "llama-3-8b", "--set", "shape=null", "--json")
    assert json.loads(found.stdout)["memory"] == {"training": None}


def test_another_models_shape_is_one_line() -> None:
    done = _dry_run("train_prm", "llama-3-8b", "--set", "base=embedded:base")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: shape: layers 32, not 6")
    done = CliRunner().invoke(cli, ["train-prm", "--config", "llama-3-8b", "--set", "base=embedded:base"])
    assert done.exit_code == 1
    assert "--set shape=null" in done.stderr


def test_a_plan_without_data_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from shepherd.cli import cli\n"
        "cli(['train-prm', '--config', 'llama-3-8b', '--dry-run'], standalone_mode=False)\n"
        "cli(['generate', '--dry-run'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_reranking_plans_what_it_will_do() -> None:
    given = CliRunner().invoke(cli, ["rerank", "--pool", "embedded", "--dry-run", "--json"])
    assert set(json.loads(given.stdout)["memory"]) == {"scoring"}
    both = CliRunner().invoke(cli, ["rerank", "--n", "4", "--dry-run", "--json"])
    found = json.loads(both.stdout)
    assert set(found["memory"]) == {"sampling", "scoring"}
    assert found["candidates"] == 4 * 500
    neither = ["rerank", "--pool", "embedded", "--no-verifier", "--dry-run", "--json"]
    assert json.loads(CliRunner().invoke(cli, neither).stdout)["memory"] == {}
    absent = CliRunner().invoke(cli, ["rerank", "--verifier", "not/there", "--dry-run", "--json"])
    assert json.loads(absent.stdout)["unknown"] == {
        "memory.scoring": "not/there is not on this machine, or is no Llama, and verifier_shape does not "
        "give its sizes"
    }


def test_what_the_cache_holds_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    from huggingface_hub import constants

    hub = tmp_path / "hub" / "datasets--peiyi9979--Math-Shepherd"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("c" * 40)
    kept = hub / "snapshots" / ("c" * 40)
    kept.mkdir(parents=True)
    rows = [
        {"question": f"Tom has {number} apples. How many?", "steps": [f"Step 1: {number}."], "labels": [1.0]}
        for number in range(40)
    ]
    (kept / "math-shepherd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    found = _planned("train-prm", "data=math-shepherd", "eval_fraction=0.25")
    assert found["rows_to_train_on"] + found["rows_held_out"] == 40

    (tmp_path / "kept" / "openai___gsm8k").mkdir(parents=True)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "kept"))

    def load_dataset(*_: Any, split: str) -> Any:
        who = {"train": "Ann", "test": "Eve"}[split]
        solved = [
            {"question": f"{who} has {n} of {7 * n}.", "answer": f"It is {n}.\n#### {n}"} for n in range(40)
        ]
        return datasets.Dataset.from_list(solved)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert _planned("sft", "data=gsm8k", "eval_fraction=0")["rows_to_train_on"] == 40
    assert _planned("generate", "problems.source=gsm8k")["problems"] == 40


def _planned(command: str, *overrides: str) -> Any:
    keys = [part for each in overrides for part in ("--set", each)]
    done = CliRunner().invoke(cli, [command, *keys, "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_published_verifier_is_counted_as_it_would_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "prm").mkdir()
    mistral = {
        "model_type": "mistral",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "max_position_embeddings": 32768,
    }
    (tmp_path / "prm" / "config.json").write_text(json.dumps(mistral))
    where = f"verifier={tmp_path / 'prm'}"
    totals = {
        how: _planned("score", where, f"published.quantization={how}", "published.dtype=bfloat16")["memory"]
        for how in ("none", "nf4", "nf4-single")
    }
    sizes = {how: memory["scoring"]["total_bytes"] / GIB for how, memory in totals.items()}
    assert 13 < sizes["none"] < 16
    assert 4 < sizes["nf4"] < sizes["nf4-single"] < 7


def test_a_scoring_pass_is_planned_packed_and_no_larger_than_the_machine_makes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A CPU's pass of such a model has 1,024 tokens; its solutions are as long as a training's."""
    machine = Machine("cpu", "64 cores", 64 * GIB)
    monkeypatch.setattr("verifier.plan.find_machine", lambda _: machine)
    shape = "layers=32 hidden=4096 intermediate=14336 heads=32 kv_heads=8 vocabulary=128256 context=8192"
    sizes = [f"shape.{each}" for each in shape.split()]
    of_cpu, of_few = (
        _planned("score", "verifier=not/here", *sizes, "device=cpu", f"batch_tokens={tokens}")
        for tokens in (16384, 700)
    )
    for found, tokens in ((of_cpu, 1024), (of_few, 700)):
        parts = {part["name"]: part for part in found["memory"]["scoring"]["parts"]}
        assert parts["activations: one layer at work"]["how"] == f"{tokens:,} tokens"
        assert parts["tiles of a packed row"]["how"] == "576 keys a tile"
        # Yes and no, and a number of 4 bytes for each of the 4 heads that share keys.
        assert parts["tiles of a packed row"]["bytes"] == tokens * 576 * (1 + 4 * 4)
