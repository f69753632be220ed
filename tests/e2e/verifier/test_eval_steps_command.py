"""`shepherd eval-steps` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval.calibration import read_calibration
from shepherd.cli import cli
from shepherd.files import read_json, read_jsonl
from verifier.description import read_description

QUICK = ("--set", "bootstrap=100")
FIGURES = ("f1", "acc_error", "acc_clean", "threshold", "auc", "ap_bad", "balanced_accuracy", "brier", "ece")


def run(*arguments: object, command: str = "eval-steps") -> Result:
    return CliRunner().invoke(cli, [command, *(str(each) for each in arguments)])


def done(*arguments: object, command: str = "eval-steps") -> Result:
    result = run(*arguments, command=command)
    assert result.exit_code == 0, result.output
    return result


def refused(result: Result, *said: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for each in said:
        assert each in result.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rows(tiny: Any, here: Path) -> Path:
    """Forty sums of ten questions, with labels, and ids."""
    path: Path = tiny.write_rows(here / "rows.jsonl", tiny.make_rows(40, seed=7))
    return path


@pytest.fixture
def scored(rows: Path, here: Path) -> Path:
    """Scores that know the labels, but for every seventh row."""
    lines = []
    for number, (_, row) in enumerate(read_jsonl(rows)):
        near = 0.3 if number % 7 == 0 else 0.9
        scores = [near if label else 1 - near for label in row["labels"]]
        lines.append(json.dumps({"id": row["id"], "step_scores": scores}) + "\n")
    (here / "scores.jsonl").write_text("".join(lines))
    return here / "scores.jsonl"


def test_scores_from_a_file_need_no_model_and_no_torch(rows: Path, scored: Path, here: Path) -> None:
    program = (
        "import sys\nfrom shepherd.cli import main\n"
        f"sys.argv = ['shepherd']\ntry:\n    main(['eval-steps', '{rows}', '--scores', '{scored}', '--json',"
        " '--set', 'bootstrap=100', '--out', 'out'])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert result["verifier"] is None
    for name in FIGURES:
        assert result[name].keys() == {"value", "ci95", "baseline"}
    assert result["auc"]["value"] > 0.8
    assert result["split"]["fit"]["problems"] + result["split"]["report"]["problems"] == 10
    names = {
        "results.json",
        "calibration.json",
        "sweep.png",
        "sweep.svg",
        "reliability.png",
        "reliability.svg",
    }
    assert names <= {path.name for path in (here / "out").iterdir()}
    assert not (here / "out" / "scores.jsonl").exists()
    assert (here / "out" / "DONE").exists()


def test_the_table_has_figures_intervals_baselines_and_alarms(rows: Path, scored: Path) -> None:
    shown = done(rows, "--scores", scored, *QUICK).stdout
    for said in ("F1 of the first error", "position alone", "calibration error", "temperature", "isotonic"):
        assert said in shown
    assert "ok    score_range: " in shown
    assert "not measured: the verifier's training lengths are not known" in shown
    assert "threshold and calibration fitted on" in shown


def test_collapsed_scores_raise_an_alarm(rows: Path, here: Path) -> None:
    flat = "".join(json.dumps({"step_scores": [0.501, 0.5]}) + "\n" for _ in range(40))
    (here / "flat.jsonl").write_text(flat)
    shown = done(rows, "--scores", "flat.jsonl", *QUICK).stdout
    assert "ALARM score_range: " in shown
    assert "ALARM score_entropy: " in shown
    assert "ALARM minimum_on_last_step: " in shown


def test_a_verifier_scores_into_lines_that_resume_to_the_same_bytes(
    tiny_verifier: Path, rows: Path, here: Path
) -> None:
    common = (
        rows,
        "--verifier",
        tiny_verifier,
        "--set",
        "chunk=16",
        "--set",
        "threads=1",
        "--no-store",
        *QUICK,
    )
    result = json.loads(done(*common, "--out", "whole", "--json").stdout)
    lines = (here / "whole" / "scores.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 40
    first = json.loads(lines[0])
    assert (first["id"], len(first["step_scores"])) == ("0", 2)
    assert first["verifier"] == result["verifier_id"] == read_description(tiny_verifier).id
    shutil.copytree("whole", "killed")
    for name in ("DONE", "results.json", "calibration.json", "sweep.png"):
        (here / "killed" / name).unlink()
    (here / "killed" / "scores.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:15])
    again = json.loads(done("--resume", "killed", "--json").stdout)
    for name in (
        "scores.jsonl",
        "results.json",
        "calibration.json",
        "sweep.png",
        "sweep.svg",
        "reliability.svg",
    ):
        assert (here / "killed" / name).read_bytes() == (here / "whole" / name).read_bytes(), name
    assert {**again, "run": ""} == {**result, "run": ""}
    # The scores of a run are a scores file for the same rows.
    from_file = json.loads(done(rows, "--scores", "whole/scores.jsonl", *QUICK, "--json").stdout)
    assert from_file["auc"] == result["auc"]
    assert from_file["f1"] == result["f1"]


def test_what_the_store_has_is_not_scored_again(tiny_verifier: Path, rows: Path, here: Path) -> None:
    common = (rows, "--verifier", tiny_verifier, "--set", "chunk=16", *QUICK)
    done(*common, "--out", "one")
    second = done(*common, "--out", "two")
    assert "40 rows scored by verifier" in second.stderr
    assert (here / "one" / "scores.jsonl").read_bytes() == (here / "two" / "scores.jsonl").read_bytes()


def test_threshold_and_calibration_come_from_another_file(tiny: Any, rows: Path, here: Path) -> None:
    both = [row for _, row in read_jsonl(rows)]
    (here / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in both[:24]))
    # One question of the fit file is reported on, so its rows are left out.
    (here / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in both[20:]))
    scores = "".join(
        json.dumps({"step_scores": [0.8 if label else 0.3 for label in row["labels"]]}) + "\n"
        for row in [*both[:24], *both[20:]]
    )
    (here / "scores.jsonl").write_text(scores)
    result = json.loads(
        done("some.jsonl", "--fit", "other.jsonl", "--scores", "scores.jsonl", *QUICK, "--json").stdout
    )
    assert result["counts"]["rows"] == 24
    split = result["split"]
    assert (split["by"], split["fit_file"]) == ("file", "other.jsonl")
    assert split["fit"]["rows"] + split["left_out"] == 20
    assert split["left_out"] >= 4
    assert result["f1"]["value"] == 1
    assert result["calibration"]["fitted_on"]["data"] == "other.jsonl"


def test_a_calibration_is_saved_and_used_and_the_verifier_keeps_its_id(
    tiny_verifier: Path, rows: Path, here: Path
) -> None:
    mine = Path(shutil.copytree(tiny_verifier, here / "mine"))
    before = read_description(mine)
    fresh = ("--verifier", "mine", "--set", "threads=1")
    done(rows, *fresh, "--save-calibration", "--out", "run", *QUICK)
    after = read_description(mine)
    assert after.id == before.id
    assert after.calibration is not None
    assert after.calibration["fitted_on"]["data"] == str(rows)
    assert after.calibration["fitted_on"]["steps"] > 0
    assert read_calibration(mine) == read_calibration(here / "run")
    pool = {"id": "p", "question": "Tom has 1 apples, buys 2 and then 3. How many apples?", "answer": "6"}
    texts = ["Step 1: 1 + 2 = 3.\nStep 2: 3 + 3 = 6.", "Step 1: 1 + 2 = 4.", ""]
    (here / "pool.jsonl").write_text(
        json.dumps({**pool, "candidates": [{"text": each} for each in texts]}) + "\n"
    )
    done("pool.jsonl", *fresh, "--out", "raw", command="score")
    for kind in ("temperature", "isotonic"):
        # With the store that the raw scores are in: they are kept apart.
        done("pool.jsonl", *fresh, "--set", f"calibration={kind}", "--out", kind, command="score")
        raw = read_json(here / "raw" / "scores.jsonl")
        found = read_json(here / kind / "scores.jsonl")
        assert found["calibration"] == kind
        assert "calibration" not in raw
        assert found["verifier"] == raw["verifier"]
        calibrate = read_calibration(mine).of(kind)
        for plain, mapped in zip(raw["step_scores"], found["step_scores"], strict=True):
            assert mapped == pytest.approx(calibrate(plain).tolist(), abs=1e-7)
        assert read_json(here / kind / "manifest.json")["calibration"] == kind
        assert read_json(here / kind / "results.json")["calibration"] == kind
    done("pool.jsonl", *fresh, "--no-store", "--out", "again", command="score")
    assert (here / "again" / "scores.jsonl").read_bytes() == (here / "raw" / "scores.jsonl").read_bytes()
    one = done("--question", "How many?", "--solution", "1 + 2 = 4", "--set", "calibration=isotonic", *fresh,
               "--json", command="score")  # fmt: skip
    assert json.loads(one.stdout)["calibration"] == "isotonic"


def test_a_run_holds_the_calibration_of_a_verifier_that_is_not_written_into(rows: Path, here: Path) -> None:
    refused(run(rows, "--save-calibration"), "the packaged verifier", "calibration_from=RUN")
    assert not (here / "runs").exists()
    (here / "published").mkdir()
    (here / "published" / "config.json").write_text("{}")
    refused(run(rows, "--verifier", "published", "--save-calibration"), "a published verifier")
    refused(run(rows, "--verifier", "some/hub-name", "--save-calibration"), "a published verifier")
    done(rows, "--out", "run", *QUICK)
    asked = (
        "--set",
        "limit=1",
        "--set",
        "calibration=isotonic",
        "--set",
        "calibration_from=run",
        "--out",
        "scores",
    )
    done(*asked, command="score")
    assert read_json(here / "scores" / "manifest.json")["inputs"]["run/calibration.json"]
    line = next(read_jsonl(here / "scores" / "scores.jsonl"))[1]
    assert line["calibration"] == "isotonic"


def test_what_cannot_be_calibrated_is_told(tiny_verifier: Path, rows: Path, scored: Path, here: Path) -> None:
    mine = Path(shutil.copytree(tiny_verifier, here / "mine"))
    described = read_json(mine / "verifier.json")
    (mine / "verifier.json").write_text(json.dumps({**described, "calibration": None}))
    refused(
        run("--verifier", "mine", "--set", "calibration=isotonic", command="score"), "holds no calibration"
    )
    refused(run("--set", "calibration_from=run", command="score"), "calibration_from without calibration")
    refused(run(rows, "--scores", scored, "--save-calibration"), "save_calibration")
    good = [row for _, row in read_jsonl(rows) if set(row["labels"]) == {1.0}]
    (here / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in good))
    result = run("good.jsonl", "--verifier", "mine", "--save-calibration", "--out", "run", *QUICK)
    refused_line = result.stderr.splitlines()[-1]
    assert result.exit_code == 1
    assert "no calibration to save" in refused_line
    assert not (here / "run" / "DONE").exists()


def test_bad_input_is_told_in_one_line_and_leaves_no_run(rows: Path, scored: Path, here: Path) -> None:
    refused(run(rows, "--scores", scored, "--verifier", "embedded"), "exclude each other")
    refused(run("nothing.jsonl", "--scores", scored), "nothing.jsonl: no such file")
    refused(run(rows, "--scores", "nothing.jsonl"), "nothing.jsonl")
    refused(run(rows, "--verifier", here), "no verifier.json")
    (here / "bad.jsonl").write_text('{"problem": "q", "steps": ["a"], "label": 4}\n')
    refused(run("bad.jsonl", "--scores", scored), "bad.jsonl:1: label is 4")
    assert not (here / "runs").exists()


def test_a_dry_run_plans_without_reading(rows: Path, here: Path) -> None:
    shown = done(rows, "--dry-run").stdout
    assert f"data: {rows}" in shown
    assert "memory of scoring" in shown
    found = json.loads(done(rows, "--scores", "scores.jsonl", "--dry-run", "--json").stdout)
    assert found["memory"] == {}
    assert found["config"]["scores"] == "scores.jsonl"
    assert list(here.iterdir()) == [rows]


def test_hostile_texts_stay_text(tiny_verifier: Path, here: Path) -> None:
    nasty = "<script>\x1b[31m\u202e\x00</script> $\\frac{" + "9" * 50_000
    made = [
        {
            "id": f"\x1b[3{number}m",
            "problem": f"{nasty}{number}",
            "steps": [nasty, "2"],
            "label": number % 3 - 1,
        }
        for number in range(9)
    ]
    (here / "na\x1b[31msty $x$.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    (here / "scores.jsonl").write_text('{"step_scores": [0.9, 0.1]}\n' * 9)
    shown = done("na\x1b[31msty $x$.jsonl", "--scores", "scores.jsonl", *QUICK)
    assert "\x1b" not in shown.output
    assert "\u202e" not in shown.output
    result = done("na\x1b[31msty $x$.jsonl", "--verifier", tiny_verifier, *QUICK, "--json")
    assert json.loads(result.stdout)["counts"]["rows"] > 0
