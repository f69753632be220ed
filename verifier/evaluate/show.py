"""What `shepherd eval-steps` prints: the figures beside position alone, calibration, and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from eval.kinds import TEMPERATURES
from shepherd.console import clean, print_json, table
from shepherd.files import read_json
from verifier.show import RESULT

_FIGURES = {
    "f1": "F1 of the first error",
    "acc_error": "  first error named exactly",
    "acc_clean": "  clean rows called clean",
    "threshold": "  threshold",
    "auc": "step ROC AUC",
    "auc_within_position": "  within position",
    "auc_within_question": "solution AUC within question",
    "ap_bad": "average precision of wrong steps",
    "balanced_accuracy": "balanced accuracy at 0.5",
    "first_error_accuracy": "first error or none, at 0.5",
    "brier": "Brier score",
    "ece": "calibration error",
}


def show_steps(run: Path, as_json: bool) -> None:
    """Print the result of a finished run."""
    result = read_json(run / RESULT)
    if as_json:
        print_json({"run": str(run), **result})
        return
    counts, split = result["counts"], result["split"]
    whose = result["scores"] or f"verifier {result['verifier']}"
    title = f"{result['data']}, {whose}: {counts['rows']:,} rows of {counts['questions']:,} problems"
    rows = [
        (
            label,
            _number(result[name]["value"]),
            _interval(result[name]["ci95"]),
            _number(result[name]["baseline"]),
        )
        for name, label in _FIGURES.items()
    ]
    table(clean(title), ("", "value", "95%", "position alone"), rows)
    click.echo(
        f"{counts['rows_erroneous']:,} rows with an error, {counts['rows_clean']:,} clean; "
        f"{counts['steps_labelled']:,} labelled steps, {counts['steps_bad']:,} wrong"
    )
    if counts["steps_scored_0"]:
        click.echo(
            f"{counts['steps_scored_0']:,} steps score 0: as a rule they are beyond the model's context"
        )
    click.echo(_fitted(split))
    _show_calibration(result["calibration"])
    for each in result["diagnostics"]:
        mark = "ALARM" if each["alarm"] else "ok   "
        click.echo(f"{mark} {each['name']}: {each['says']}")
    click.echo(f"files: {run}")


def _fitted(split: Mapping[str, Any]) -> str:
    fit = split["fit"]
    where = split.get("fit_file") or f"problems of the same file (seed {split.get('seed')})"
    sizes = f"{fit['rows']:,} rows of {fit['problems']:,} other problems: {clean(str(where))}"
    if split.get("left_out"):
        sizes += f"; {split['left_out']:,} rows left out, their problems are reported on"
    if split["threshold_fitted"]:
        return f"threshold and calibration fitted on {sizes}"
    if split["threshold_given"]:
        return f"threshold given, calibration fitted on {sizes}"
    return f"threshold 0.5, not fitted: {sizes} have not both clean rows and rows with an error"


def _show_calibration(calibration: Mapping[str, Any] | None) -> None:
    least, most = TEMPERATURES
    if calibration is None:
        click.echo("calibration: none, the rows to fit on have not both right and wrong steps")
        return
    rows = [
        (
            name,
            *(
                f"{_number(each[key]['value'])} {_interval(each[key]['ci95'])}"
                for key in ("nll", "brier", "ece")
            ),
        )
        for name, each in {"as it is": calibration["before"], **calibration["after"]}.items()
    ]
    fitted = calibration["temperature"]
    note = f"temperature {fitted:.3f}; min and last keep their order under it"
    if not least * 1.01 < fitted < most * 0.99:
        note += f"; the end of what is tried ({least:g} to {most:g}): scores mean little here"
    table("calibration", ("", "NLL a step", "Brier score", "calibration error"), rows, note)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
