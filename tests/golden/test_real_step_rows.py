"""ProcessBench and BIG-Bench-Mistake as they are: counts, and figures of scores that are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from eval.first_error import first_bad
from eval.judged import Scored, split_by_problem
from eval.step_report import evaluate_steps
from shepherd.cli import cli
from verifier.evaluate.rows import read_judged

PROCESSBENCH, MISTAKE = "processbench/gsm8k_half.jsonl", "bbmistake/multistep_arithmetic.jsonl"


def test_processbench_rows_are_those_that_are_described(foreign_data: Path) -> None:
    """As the data's README counts: 96 clean, 103 with an error, 3 of those with a right answer."""
    rows, counts = read_judged(str(foreign_data / PROCESSBENCH))
    assert (counts.read, len(rows), counts.skipped) == (199, 199, [])
    clean = [first_bad(each.row.labels) == len(each.row.labels) for each in rows]
    assert (sum(clean), len(rows) - sum(clean)) == (96, 103)
    assert sum(each.right is True and not is_clean for each, is_clean in zip(rows, clean, strict=True)) == 3
    assert all(each.right is not None for each in rows)
    after = sum(label is None for each in rows for label in each.row.labels)
    raw = [json.loads(line) for line in (foreign_data / PROCESSBENCH).read_text("utf-8").splitlines()]
    assert after == sum(len(each["steps"]) - each["label"] - 1 for each in raw if each["label"] >= 0)


def test_mistake_rows_are_those_that_are_described(foreign_data: Path) -> None:
    """300 rows, 62 clean; whether the answer is the target is known of each."""
    rows, counts = read_judged(str(foreign_data / MISTAKE))
    assert (counts.read, len(rows), counts.skipped) == (300, 300, [])
    assert sum(first_bad(each.row.labels) == len(each.row.labels) for each in rows) == 62
    raw = [json.loads(line) for line in (foreign_data / MISTAKE).read_text("utf-8").splitlines()]
    assert [each.right for each in rows] == [int(each["answer"]) == int(each["target"]) for each in raw]


@pytest.mark.parametrize("name", [PROCESSBENCH, MISTAKE])
def test_scores_that_know_the_labels_are_perfect_and_flat_ones_worthless(
    foreign_data: Path, name: str
) -> None:
    rows, _ = read_judged(str(foreign_data / name))
    fit, report = split_by_problem(rows, 0.5, 0)

    def scored(which: list[int], of: object) -> Scored:
        taken = [rows[at] for at in which]
        known = [[0.1 if label == 0 else 0.9 for label in each.row.labels] for each in taken]
        return Scored(taken, known if of == "labels" else [[0.5] * len(each.row.labels) for each in taken])

    perfect = evaluate_steps(scored(report, "labels"), scored(fit, "labels"), bootstrap=100).metrics
    for figure in ("f1", "acc_error", "acc_clean", "auc", "ap_bad", "balanced_accuracy"):
        assert perfect[figure].value == 1, figure
        baseline = perfect[figure].baseline
        assert baseline is not None
        assert baseline < 0.9, figure
    flat = evaluate_steps(scored(report, "flat"), scored(fit, "flat"), bootstrap=100).metrics
    assert flat["f1"].value == 0
    assert flat["auc"].value == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows", "clean"), [(PROCESSBENCH, 199, 96), (MISTAKE, 300, 62)])
def test_the_packaged_verifier_judges_them(
    foreign_data: Path, tmp_path: Path, name: str, rows: int, clean: int
) -> None:
    """It reads one small world: what is asked here is that it runs, and that all is counted."""
    arguments = ["eval-steps", str(foreign_data / name), "--out", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    sides = found["split"]
    assert sides["fit"]["rows"] + sides["report"]["rows"] == rows
    assert found["counts"]["rows_erroneous"] + found["counts"]["rows_clean"] == sides["report"]["rows"]
    assert 0 < found["counts"]["rows_clean"] < clean
    for figure in ("f1", "acc_error", "acc_clean", "auc", "ap_bad", "balanced_accuracy", "brier", "ece"):
        low, high = found[figure]["ci95"]
        assert 0 <= low <= found[figure]["value"] <= high <= 1, figure
        assert found[figure]["baseline"] is not None
    assert found["f1"]["value"] < 0.5
    assert len((tmp_path / "run" / "scores.jsonl").read_text().splitlines()) == rows
