"""`shepherd report` through the command line, on runs of written pools and scores."""

from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.page.read import read_candidates, read_run
from eval.scores import SOFTMIN_TEMPERATURE
from shepherd.cli import cli
from shepherd.config import Config
from shepherd.files import write_json
from shepherd.runs import Run


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def candidate(answer: int | None, *scores: float) -> tuple[dict[str, Any], list[float]]:
    """As many steps as scores; None gives up."""
    said = "I give up" if answer is None else f"The answer is: {answer}"
    lines = [*(f"Step {at + 1}: so ки" for at in range(len(scores) - 1)), f"Step {len(scores)}: {said} ки"]
    return {"text": "\n".join(lines), "tokens": 7}, list(scores)


# The gold answer is 2; min takes the first candidate of "a" (right) and the last of "b" (wrong).
PLANTED = {
    "a": [candidate(2, 0.9, 0.8), candidate(3, 0.4, 0.2), candidate(3, 0.3)],
    "b": [candidate(2, 0.9, 0.4), candidate(2, 0.7), candidate(3, 0.95, 0.9)],
    "c": [candidate(None, 0.1), candidate(None, 0.2), candidate(None, 0.3)],
}


def planted_run(
    folder: Path, *settings: str, scored: bool = True, gold: bool = True, out: str = "run"
) -> Path:
    """A finished `shepherd rerank` run of the planted pool."""
    pool = [
        {
            "id": name,
            "question": f"{name}?",
            "answer": "2" if gold else None,
            "candidates": [c for c, _ in made],
        }
        for name, made in PLANTED.items()
    ]
    if not gold:
        pool[0]["answer"] = "2"  # a run needs one
    scores = [{"id": name, "step_scores": [each for _, each in made]} for name, made in PLANTED.items()]
    for name, rows in (("pool.jsonl", pool), ("scores.jsonl", scores)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = ["--scores", folder / "scores.jsonl"] if scored else ["--no-verifier"]
    quick = [word for each in ("evaluation.bootstrap=100", *settings) for word in ("--set", each)]
    result = shepherd("rerank", "--pool", folder / "pool.jsonl", *how, *quick, "--out", folder / out)
    assert result.exit_code == 0, result.output
    return folder / out


def data_of(page: Path, name: str) -> Any:
    """What lies packed in the page under a name."""
    [letters] = re.findall(
        rf'<script type="text/plain" id="{name}">([^<]*)</script>', page.read_text("utf-8")
    )
    return json.loads(zlib.decompress(base64.b64decode(letters)))


def test_a_run_becomes_a_page_plots_a_table_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/shepherd", "rerank", "--pool", "a pool"])
    run = planted_run(tmp_path)
    result = shepherd("report", run, "--out", tmp_path / "report", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    folder = tmp_path / "report"
    assert json.loads((folder / "results.json").read_text()) == {"schema_version": 1, **report}
    assert {path.name for path in folder.iterdir()} >= {
        "report.html",
        "report.md",
        "results.json",
        "plots",
        "DONE",
    }
    [shown] = report["runs"]
    assert (shown["command"], shown["run"]) == ("rerank", str(run))
    accuracy = json.loads((run / "results.json").read_text())["rules"]["min"]["accuracy"]
    assert shown["results"]["rules"]["min"]["accuracy"] == accuracy == pytest.approx(1 / 3)
    assert [(folder / plot).read_bytes()[:4] for plot in shown["plots"]] == [b"\x89PNG", b"<?xm"]
    assert list(shown["manifest"]["inputs"]) == [str(tmp_path / "pool.jsonl"), str(tmp_path / "scores.jsonl")]
    assert {each["name"]: each["problems"] for each in shown["viewers"][0]["filters"]} == {
        "verifier_right": 1, "majority_right": 1, "disagree": 2, "alarm": 2, "alarm_accepted": 1,
        "alarm_rejected": 1, "alarm_silent": 1, "majority_wrong": 2, "tied": 0, "none_right": 1,
        "ungraded": 0,
    }  # fmt: skip
    page = (folder / "report.html").read_text("utf-8")
    assert '<pre tabindex="0">shepherd rerank --pool &#39;a pool&#39;</pre>' in page
    assert "best of 3 by min" in (folder / "report.md").read_text("utf-8")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parents"] == [str(run)]
    assert str(run / "pool.jsonl") in manifest["inputs"]


def test_the_viewer_has_answers_votes_picks_and_alarms(tmp_path: Path) -> None:
    run = planted_run(tmp_path)
    assert shepherd("report", run, "--out", tmp_path / "report").exit_code == 0
    page = tmp_path / "report" / "report.html"
    index = data_of(page, "run1-index")
    assert index["headline"] == "min"
    assert [problem[0] for problem in index["problems"]] == ["a", "b", "c"]
    assert [problem[4:] for problem in index["problems"]] == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    first, second, third = data_of(page, "run1-block0")
    three, two = first["answers"]
    assert (three["text"], three["right"], three["by"], three["sum"]) == ("3", False, [1, 2], 0.5)
    assert {"majority", "shortest"} <= three["rules"].keys()
    assert {"min", "weighted_min", "prod"} <= two["rules"].keys()
    assert first["best"]["min"] == [0]
    assert first["candidates"][1]["scores"] == [0.4, 0.2]
    assert first["candidates"][1]["weakest"] == 1
    assert first["candidates"][0]["tokens"] == 7
    assert [each.get("alarms") for each in second["candidates"]] == [
        ["alarm_rejected"],
        None,
        ["alarm_accepted"],
    ]
    assert third["answers"] == []
    assert third["silent"] == [0, 1, 2]
    assert [each["answer"] for each in third["candidates"]] == [-1, -1, -1]


def test_the_viewers_softmin_is_taken_as_the_runs_was(tmp_path: Path) -> None:
    run = read_run(planted_run(tmp_path, "evaluation.softmin_temperature=0.5"))
    ((given,), _) = read_candidates(run)
    assert given.softmin_temperature == 0.5
    results = json.loads((run.path / "results.json").read_text())
    del results["settings"]  # as a run of old
    write_json(run.path / "results.json", results)
    ((given,), _) = read_candidates(read_run(run.path))
    assert given.softmin_temperature == SOFTMIN_TEMPERATURE


def test_missing_scores_and_gold_are_a_line(tmp_path: Path) -> None:
    run = planted_run(tmp_path, scored=False, gold=False)
    result = shepherd("report", run, "--out", tmp_path / "report", "--json")
    assert result.exit_code == 0, result.output
    [shown] = json.loads(result.stdout)["runs"]
    assert [note.partition(" (")[0] for note in shown["notes"]] == ["No step scores"]
    counts = {each["name"]: each["problems"] for each in shown["viewers"][0]["filters"]}
    assert "verifier_right" not in counts
    assert counts["ungraded"] == 2
    (run / "pool.jsonl").unlink()
    result = shepherd("report", run, "--out", tmp_path / "bare", "--json")
    assert result.exit_code == 0, result.output
    [shown] = json.loads(result.stdout)["runs"]
    assert shown["viewers"] == []
    assert "no pool.jsonl" in shown["notes"][0]
    assert 'id="viewer"' not in (tmp_path / "bare" / "report.html").read_text("utf-8")


def test_several_runs_stand_on_one_page(tmp_path: Path) -> None:
    runs = [planted_run(tmp_path, out="one"), planted_run(tmp_path, scored=False, out="two")]
    result = shepherd("report", *runs, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    page = tmp_path / "report" / "report.html"
    assert data_of(page, "run1-index")["scored"] is True
    assert data_of(page, "run2-index")["scored"] is False
    assert f"page: {page}" in result.stdout
    assert sorted(path.name for path in (tmp_path / "report" / "plots").glob("*.png")) == [
        "run1-curves.png",
        "run2-curves.png",
    ]


def finished(folder: Path, command: str, results: dict[str, Any]) -> Path:
    run = Run.create(command, Config(), folder)
    write_json(folder / "results.json", results)
    run.finish()
    return folder


def test_an_eval_steps_run_needs_no_candidates(tmp_path: Path) -> None:
    figure = {"value": 0.5, "ci95": [0.4, 0.6], "baseline": 0.3}
    results = dict.fromkeys(("f1", "acc_error", "acc_clean", "threshold"), figure)
    run = finished(tmp_path / "run", "eval-steps", {**results, "counts": {"rows": 10}})
    result = shepherd("report", run, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "ProcessBench F1 0.500 [0.400, 0.600], above position alone (0.300)." in result.stdout
    assert "keeps no candidates" in (tmp_path / "report" / "report.html").read_text("utf-8")


def test_what_is_no_run_or_not_done_is_one_line(tmp_path: Path) -> None:
    run = planted_run(tmp_path)
    cases: list[tuple[list[object], str]] = [
        (
            [tmp_path],
            f"error: {tmp_path}: no run here (no manifest.json); shepherd runs lists what there is\n",
        ),
        ([run, run], f"error: {run}: is named twice; give each run once\n"),
    ]
    other = finished(tmp_path / "other", "generate", {})
    known = "rerank, eval-steps, compare"
    cases.append(
        (
            [other],
            f"error: {other}: is a run of generate; a report shows runs of {known}: give one of those\n",
        )
    )
    broken = finished(tmp_path / "broken", "rerank", {"n": 3})
    cases.append(
        (
            [broken],
            f'error: {broken}/results.json: no "problems" field; shepherd rerank writes one: run it again\n',
        )
    )
    for runs, message in cases:
        result = shepherd("report", *runs, "--out", tmp_path / "report")
        assert (result.exit_code, result.output) == (1, message)
        assert not (tmp_path / "report").exists()
    (run / "DONE").unlink()
    result = shepherd("report", run, "--out", tmp_path / "report")
    assert result.output == f"error: {run}: is not done; finish it with shepherd rerank --resume {run}\n"


def test_a_report_is_not_written_over(tmp_path: Path) -> None:
    run = planted_run(tmp_path)
    assert shepherd("report", run, "--out", tmp_path / "report").exit_code == 0
    before = (tmp_path / "report" / "report.html").read_bytes()
    result = shepherd("report", run, "--out", tmp_path / "report")
    assert result.exit_code == 1
    assert "choose another --out" in result.output
    assert (tmp_path / "report" / "report.html").read_bytes() == before
