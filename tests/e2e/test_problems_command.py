"""`shepherd problems` writes problems that the other commands read."""

import json
from pathlib import Path

from click.testing import CliRunner

from shepherd import problems as sources
from shepherd.answers import extract
from shepherd.cli import cli


def test_problems_are_written_with_answers_and_solutions(tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ["problems", "--set", "count=12", "--seed", "3", "--out", str(out), "--json"]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["count"] == 12
    problems = sources.read(str(out / "problems.jsonl"))
    assert len({problem.id for problem in problems}) == 12
    for line in (out / "problems.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        assert extract(row["solution"], "shepherd") == extract(row["answer"], "gold")
    assert (out / "DONE").exists()


def test_a_dry_run_prints_the_config_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = CliRunner().invoke(cli, ["problems", "--set", "split=train", "--out", str(out), "--dry-run"])
    assert result.exit_code == 0 and "split: train" in result.stdout
    assert not out.exists()


def test_an_unknown_key_is_one_line() -> None:
    result = CliRunner().invoke(cli, ["problems", "--set", "splits=train"])
    assert result.exit_code == 1
    assert "splits" in result.output and "Traceback" not in result.output
