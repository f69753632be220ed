"""The section of a `shepherd eval-steps` run: metrics beside baselines, sweep, reliability, alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from eval.page.blocks import Block, Line, Lines, Mark, Picture, Table
from eval.step_plots import CALIBRATED, SWEPT, reliability_figure, sweep_figure

Report = Mapping[str, Any]

_COUNTS = {
    "rows": "rows",
    "questions": "problems",
    "rows_erroneous": "rows with an error",
    "rows_clean": "clean rows",
    "steps_labelled": "labelled steps",
    "steps_bad": "of them wrong",
}

METRICS = {
    "f1": "ProcessBench F1",
    "acc_error": "accuracy on rows with an error (the exact first one)",
    "acc_clean": "accuracy on clean rows",
    "threshold": "threshold: a step under it is taken as wrong",
    "auc": "ROC AUC",
    "ap_bad": "average precision of bad steps",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score (lower is better)",
    "ece": "calibration error, ECE (lower is better)",
    "auc_within_position": "ROC AUC within position",
    "auc_within_question": "solution AUC within question (baseline: fewer steps)",
}


def verdicts(report: Report) -> list[Line]:
    """F1 against what position alone gives, and how many alarms there are."""
    f1 = report["f1"]
    value, baseline, ci95 = f1.get("value"), f1.get("baseline"), f1.get("ci95")
    lines = []
    if value is None:
        lines.append(Line("note", "No F1: the rows hold only one of erroneous and clean solutions."))
    elif baseline is None or not ci95:
        lines.append(Line("note", f"ProcessBench F1 {value:.3f}{_span(ci95)}."))
    else:
        mark: Mark = "better" if ci95[0] > baseline else "worse" if ci95[1] < baseline else "same"
        than = {"better": "above", "worse": "below"}.get(mark, "not shown to differ from")
        text = f"ProcessBench F1 {value:.3f}{_span(ci95)}, {than} position alone ({baseline:.3f})."
        lines.append(Line(mark, text))
    diagnostics = report.get("diagnostics") or []
    names = ", ".join(str(each["name"]).replace("_", " ") for each in diagnostics if each.get("alarm"))
    if names:
        lines.append(Line("alarm", f"Alarms: {names}."))
    elif diagnostics:
        lines.append(Line("fine", f"None of {len(diagnostics)} diagnostics raises an alarm."))
    return lines


def facts(report: Report) -> str:
    """What was judged, in one line."""
    counts = report.get("counts") or {}
    shown = [f"{counts[name]:,} {says}" for name, says in _COUNTS.items() if name in counts]
    return ", ".join(shown) or "no counts in this run"


def blocks(report: Report, title: str, key: str) -> Iterator[Block]:
    """Tables and pictures of the run."""
    rows = [
        [text, _number(each.get("value")), _span(each.get("ci95")).strip(), _number(each.get("baseline"))]
        for name, text in METRICS.items()
        if isinstance(each := report.get(name), Mapping)
    ]
    yield Table(
        "Step metrics; intervals: 95% bootstrap clustered by problem; baseline: the step's position alone",
        ["metric", "value", "95%", "position alone"],
        rows,
    )
    if report.get("counts"):
        rows = [[name.replace("_", " "), _number(value)] for name, value in report["counts"].items()]
        yield Table("All counts", ["what", "count"], rows, folded=True)
    if report.get("split"):
        yield Lines("How rows were split", [Line("note", _flat(report["split"]))], folded=True)
    if report.get("sweep"):
        yield _sweep(report, title, f"{key}-sweep")
    if report.get("reliability"):
        yield _reliability(report, title, f"{key}-reliability")
    if report.get("calibration"):
        yield _calibration(report["calibration"])
    if report.get("diagnostics"):
        yield Table(
            "Diagnostics",
            ["diagnostic", "value", "bound", "alarm", "what it says"],
            [
                [
                    str(each.get("name", "")).replace("_", " "),
                    _number(each.get("value")),
                    _number(each.get("bound")),
                    "⚠ alarm" if each.get("alarm") else "✓ none",
                    str(each.get("says", "")),
                ]
                for each in report["diagnostics"]
            ],
            sentences=True,
        )


def _sweep(report: Report, title: str, name: str) -> Picture:
    columns = ["threshold", *SWEPT]
    every = max(1, len(report["sweep"]) // 25)
    rows = [[_number(point.get(each)) for each in columns] for point in report["sweep"][::every]]
    table = Table("F1 by threshold", ["threshold", *SWEPT.values()], rows, folded=True)
    drawn = [each for each in SWEPT if any(point.get(each) is not None for point in report["sweep"])]
    return Picture(
        name,
        "F1 and both accuracies against the threshold; the vertical line is the one that is used",
        f"A line chart of {', '.join(SWEPT[each] for each in drawn)} over thresholds from 0 to 1. The table "
        "below has its figures.",
        partial(sweep_figure, report, title),
        table,
        switches=[(each, SWEPT[each]) for each in drawn],
    )


def _reliability(report: Report, title: str, name: str) -> Picture:
    kinds = {"raw": report["reliability"], **(report.get("reliability_calibrated") or {})}
    rows = [
        [CALIBRATED[kind], _number(each["mean_score"]), _number(each["share_good"]), f"{each['count']:,}"]
        for kind, bins in kinds.items()
        for each in bins
    ]
    return Picture(
        name,
        "Reliability: the share of good steps against the mean score, in bins of equal count",
        "A scatter of bins against the diagonal of perfect calibration. The table below has its figures.",
        partial(reliability_figure, report, title),
        Table("Reliability by bin", ["scores", "mean score", "share good", "steps"], rows, folded=True),
        switches=[(kind, CALIBRATED[kind]) for kind in kinds] if len(kinds) > 1 else (),
    )


def _calibration(calibration: Mapping[str, Any]) -> Table:
    """NLL, Brier and calibration error before and after each calibration, on the split that is reported."""
    before, after = calibration.get("before") or {}, calibration.get("after") or {}
    names = list(before)
    rows = [
        [says, *(f"{_number(each[name]['value'])}{_span(each[name]['ci95'])}" for name in names)]
        for says, each in [("as it is", before), *after.items()]
    ]
    temperature = calibration.get("temperature")
    said = (
        "" if temperature is None else f" (fitted: {temperature:.3g}; min and last keep their order under it)"
    )
    return Table(
        f"Calibration, fitted on the other split and judged on this one{said}",
        [
            "scores",
            *({"nll": "NLL a step", "brier": "Brier", "ece": "ECE"}.get(name, name) for name in names),
        ],
        rows,
    )


def _flat(value: object) -> str:
    """A small JSON value in one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{str(name).replace('_', ' ')}: {_flat(each)}" for name, each in value.items())
    if isinstance(value, list):
        shown = ", ".join(_flat(each) for each in value[:8])
        return shown + (f", … ({len(value)} in all)" if len(value) > 8 else "")
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _span(bounds: Any) -> str:
    if not bounds or None in bounds:
        return ""
    return f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"
