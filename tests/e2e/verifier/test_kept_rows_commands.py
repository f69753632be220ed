"""Training data in the store as users meet it: told, listed with its size, checked, removed, done without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli
from verifier.data import corpus


@pytest.fixture(autouse=True)
def _keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little files are kept as well."""
    monkeypatch.setattr(corpus, "KEPT_BYTES", 1)


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def of_json(*arguments: object) -> Any:
    result = shepherd(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def train(tiny_base: Path, tiny_rows: Path, tmp_path: Path) -> Any:
    """Runs the command for two steps; gives what it said on stderr, and its run."""

    def run(name: str, *more: str) -> tuple[str, Path]:
        settings = [
            f"base={tiny_base}", "max_steps=2", "batch_tokens=700", "eval_fraction=0.2", "threads=1",
            "tensorboard=false", "lora.targets=all-linear", "lora.rank=2", "optimizer=adamw_torch",
        ]  # fmt: skip
        out = tmp_path / name
        sets = [each for setting in settings for each in ("--set", setting)]
        result = shepherd("train-prm", "--data", tiny_rows, *sets, "--out", out, *more)
        assert result.exit_code == 0, result.output
        return result.stderr, out

    return run


def verifier_of(run: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run / "verifier")): path.read_bytes()
        for path in sorted((run / "verifier").rglob("*"))
        if path.is_file()
    }


def log_of(run: Path) -> list[str]:
    """What the log says of the data."""
    lines = [line.partition(" ")[2] for line in (run / "run.log").read_text().splitlines()]
    return [line for line in lines if line.startswith(("train:", "heldout:", "plan:", "contamination"))]


def test_a_second_training_takes_rows_and_tokens_from_the_store(train: Any, tiny_rows: Path) -> None:
    told = f"240 rows of {tiny_rows} and their tokens from the store"
    cold, first = train("first")
    assert "from the store" not in cold
    warm, second = train("second")
    assert warm.splitlines().count(told) == 1
    without, third = train("third", "--no-store")
    assert "from the store" not in without
    assert verifier_of(first) == verifier_of(second) == verifier_of(third)
    assert log_of(first) == log_of(second) == log_of(third) != []
    assert "store: false" in (third / "config.yaml").read_text()
    plan = shepherd("train-prm", "--data", tiny_rows, "--dry-run", "--json")
    assert plan.exit_code == 0, plan.output


def test_what_is_kept_is_listed_checked_and_removed(
    train: Any, own_store: Path, tiny_base: Path, tiny_rows: Path
) -> None:
    assert of_json("store", "ls")["entries"] == []
    train("first")
    tokens, rows = of_json("store", "ls")["entries"]
    questions = len({json.loads(line)["question"] for line in tiny_rows.read_text().splitlines()})
    assert (rows["kind"], rows["model"]) == ("rows", "rows.jsonl")
    for each in (rows, tokens):
        assert (each["questions"], each["rows"]) == (questions, 240)
        assert not each.keys() & {"problems", "candidates"}
    assert (tokens["kind"], tokens["model"]) == ("tokens", tiny_base.name)
    for each in (rows, tokens):
        (folder,) = (own_store / "columns").glob(f"{each['kind']}-*")
        assert each["size_bytes"] == sum(file.stat().st_size for file in folder.iterdir()) > 4000
    shown = shepherd("store", "ls").stdout
    assert "rows.jsonl" in shown
    assert "KiB" in shown
    assert "candidates" not in shown
    assert shown.count(f"{questions} questions, 240 rows") == 2
    assert [each["kind"] for each in of_json("store", "ls", "--kind", "tokens")["entries"]] == ["tokens"]
    assert [each["id"] for each in of_json("store", "ls", "--plan", rows["id"])["entries"]] == [rows["id"]]
    assert of_json("store", "ls", "--model", "no such")["entries"] == []

    assert of_json("store", "verify") == {"entries": 2, "damaged": {}, "file": []}
    (ids,) = (own_store / "columns").glob("tokens-*/ids")
    ids.write_bytes(ids.read_bytes()[:-4])
    bad = shepherd("store", "verify")
    assert bad.exit_code == 1
    assert "ids is not as long as it was written" in bad.stdout
    dropped = shepherd("store", "verify", "--drop")
    assert dropped.exit_code == 0
    assert "2 entries, 1 damaged and dropped" in dropped.stdout
    assert [each["kind"] for each in of_json("store", "ls")["entries"]] == ["rows"]

    freed = of_json("store", "prune", "--max-size", "0")
    assert (freed["dropped"], freed["bytes"]) == (1, rows["size_bytes"])
    assert list((own_store / "columns").iterdir()) == []
    assert of_json("store", "prune", "--older-than", "0m")["dropped"] == 0


def test_a_damaged_manifest_is_listed_as_what_it_is(train: Any, own_store: Path) -> None:
    train("first")
    (manifest,) = (own_store / "columns").glob("rows-*/manifest")
    manifest.write_text("what is this?")
    damaged = next(each for each in of_json("store", "ls")["entries"] if each["id"] == "damaged")
    assert (damaged["kind"], damaged["plan"]) == ("rows", {})
    assert not damaged.keys() & {"questions", "rows"}
    (line,) = (each for each in shepherd("store", "ls").stdout.splitlines() if "damaged" in each)
    assert "unknown" in line
    assert of_json("store", "prune", "--max-size", "0")["dropped"] == 2


def test_only_entries_are_exported(train: Any, tmp_path: Path) -> None:
    train("first")
    result = shepherd("store", "export", tmp_path / "entries.jsonl")
    assert result.stdout.startswith("0 entries")
    assert shepherd("store", "export", tmp_path / "entries.jsonl", "--kind", "rows").exit_code == 2
