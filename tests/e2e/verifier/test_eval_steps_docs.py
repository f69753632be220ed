"""docs/eval-steps.md names every key of a result, and no other; and its table of alarms every diagnostic."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shepherd.cli import cli
from shepherd.files import read_json

DOCS = Path(__file__).parents[3] / "docs" / "eval-steps.md"
FIGURE = {"value", "ci95", "baseline"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real result with nothing left null: rows of two kinds, of two problems a side, with verdicts."""
    folder = tmp_path_factory.mktemp("docs")
    rows, scores = [], []
    for number in range(48):
        clean = number % 3 == 0
        row = {"problem": f"q{number // 4}", "steps": ["a", "b", "c"], "label": -1 if clean else number % 2}
        rows.append({**row, "final_answer_correct": number % 5 != 0})
        noise = 0.01 * (number % 7)
        scores.append({"step_scores": [0.9 - noise, 0.8 if clean else 0.2 + 10 * noise, 0.6]})
    for name, lines in (("rows", rows), ("scores", scores)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    arguments = ["eval-steps", f"{folder}/rows.jsonl", "--scores", f"{folder}/scores.jsonl"]
    done = CliRunner().invoke(cli, [*arguments, "--set", "bootstrap=100", "--out", f"{folder}/run", "--json"])
    assert done.exit_code == 0, done.output
    shown: dict[str, Any] = json.loads(done.stdout)
    return {**read_json(folder / "run" / "results.json"), **shown}


@pytest.fixture(scope="module")
def table() -> dict[str, str]:
    """Keys of the JSON table, each with what is said of it."""
    section = DOCS.read_text("utf-8").split("## JSON", 1)[1]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[1]))
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_every_key_is_in_the_table_and_no_other(result: dict[str, Any], table: dict[str, str]) -> None:
    assert set(table) == set(result)


def test_what_stands_in_a_key_is_named(result: dict[str, Any], table: dict[str, str]) -> None:
    figures = {name for name, says in table.items() if says == "figures"}
    assert figures == {name for name, value in result.items() if isinstance(value, dict) and "ci95" in value}
    assert all(result[name].keys() == FIGURE for name in figures)
    assert named(table["counts"]) == result["counts"].keys()
    assert named(table["sweep"]) == result["sweep"][0].keys() == result["fit_sweep"][0].keys()
    assert named(table["reliability"]) == result["reliability"][0].keys()
    assert named(table["reliability_calibrated"]) == result["reliability_calibrated"].keys()
    for bins in result["reliability_calibrated"].values():
        assert bins[0].keys() == result["reliability"][0].keys()
    assert named(table["diagnostics"]) == result["diagnostics"][0].keys()
    calibration = result["calibration"]
    of = {*calibration, *calibration["isotonic"], *calibration["before"]}
    assert named(table["calibration"]) == of
    assert calibration["after"].keys() == {"temperature", "isotonic"}
    for each in (calibration["before"], *calibration["after"].values()):
        assert all(value.keys() == {"value", "ci95"} for value in each.values())
    split = result["split"]
    only_with_a_file = {"file", "fit_file", "left_out"}
    assert named(table["split"]) - only_with_a_file == {*split, *split["fit"], "problem"}
    assert split["fit"].keys() == split["report"].keys()
    assert named(table["read"]) == result["read"].keys()


def test_every_alarm_is_in_its_table(result: dict[str, Any]) -> None:
    section = DOCS.read_text("utf-8").split("## Alarms", 1)[1].split("## JSON")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == [
        each["name"] for each in result["diagnostics"]
    ]


def test_every_figure_is_in_its_table(result: dict[str, Any]) -> None:
    section = DOCS.read_text("utf-8").split("## The figures", 1)[1].split("## Calibration")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    figures = {name for name, value in result.items() if isinstance(value, dict) and "ci95" in value}
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == figures
