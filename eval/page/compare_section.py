"""The section of a `shepherd compare` run: the grid of generators and verifiers, differences, cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from eval.comparison_plot import comparison_figure, cost_axis, lines_of, problems_of
from eval.figures import interval, percent, points
from eval.page import rerank_section
from eval.page.blocks import Block, Line, Picture, Table, mark_of
from eval.page.read import ALONE, name_of
from eval.page.visible import visible

Report = Mapping[str, Any]


def verdicts(report: Report) -> list[Line]:
    """The answer to whether the verifier helps the weak generator more, and every difference's verdict."""
    lines = [Line("note", str(report["answer"]))] if report.get("answer") else []
    lines += [
        Line(mark_of(each["verdict"], each["ci95"]), f"{each['what']}: {each['verdict']} ({_apart(each)})")
        for each in report.get("differences") or []
        if each.get("verdict")
    ]
    return lines


def _apart(each: Report) -> str:
    return f"{points(each['difference'])} points {interval(each['ci95'], True)}"


def facts(report: Report) -> str:
    """How large the grid is."""
    return (
        f"{_how_many(report, 'generator')}, {_how_many(report, 'verifier')}, "
        f"{', '.join(f'{each:,}' for each in problems_of(report))} problems"
    )


def _how_many(report: Report, what: str) -> str:
    count = sum(each != ALONE for each in report.get(f"{what}s") or [])
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def blocks(report: Report, _title: str, key: str) -> Iterator[Block]:
    """Tables and pictures of the run."""
    cells: Sequence[Report] = report["cells"]
    yield _grid(cells)
    if report.get("differences"):
        yield _differences(report["differences"])
    yield _compute(report, f"{key}-compute")
    for place, cell in enumerate(cells, start=1):
        name = visible(name_of(cell))
        curves = rerank_section.curves(cell["report"], name, f"{key}-curves{place}")
        yield replace(curves, caption=f"{name}: {curves.caption[0].lower()}{curves.caption[1:]}")


def _grid(cells: Sequence[Report]) -> Table:
    rows = []
    for cell in cells:
        report = cell["report"]
        headline = rerank_section.headline_of(report)
        rules = report["rules"]
        best = rules.get(headline)
        gain = None if best is None else rerank_section.minus_majority(report, headline)
        rows.append(
            [
                str(cell["generator"]),
                "" if cell["verifier"] == ALONE else str(cell["verifier"]),
                f"{report['problems']:,}",
                f"{percent(rules['majority']['accuracy'])} {interval(rules['majority']['ci95'])}",
                "" if best is None else f"{percent(best['accuracy'])} {interval(best['ci95'])} by {headline}",
                "" if gain is None else f"{points(gain['difference'])} {interval(gain['ci95'], True)}",
                percent(report["pass_at_n"]),
                _tokens(cell, "generated_tokens"),
                _tokens(cell, "scored_tokens"),
            ]
        )
    return Table(
        "Each generator with each verifier; accuracies in per cent with 95% intervals, differences paired; "
        "tokens: of one candidate",
        [
            "generator", "verifier", "N", "majority", "best of n", "minus majority", "pass@n",
            "tokens generated", "tokens scored",
        ],
        rows,
    )  # fmt: skip


def _differences(differences: Sequence[Report]) -> Table:
    rows = [
        [
            str(each["what"]),
            f"{points(each['difference'])} {interval(each['ci95'], True)}",
            _number(each.get("p")),
            _number(each.get("p_holm")),
            _number(each.get("problems_differing")),
            "" if each.get("detectable") is None else f"{100 * each['detectable']:.1f}",
            str(each.get("verdict") or ""),
        ]
        for each in differences
    ]
    columns = ["difference", "points [95%]", "p", "p (Holm)", "problems that differ", "detectable", "verdict"]
    return Table(
        "Paired differences on the same problems; detectable: points that would have been seen at this size",
        columns,
        rows,
        sentences=True,
    )


def _compute(report: Report, name: str) -> Picture:
    lines = lines_of(report)
    rows = [
        [
            line["label"],
            str(point["n"]),
            "" if point["tokens"] is None else f"{point['tokens']:,.0f}",
            f"{percent(point['accuracy'])} {interval(point['ci95'])}",
        ]
        for line in lines
        for point in line["points"]
    ]
    against = "n, and against what n candidates cost: a vote what was generated, a rule what was read besides"
    return Picture(
        name,
        f"Accuracy against {against if cost_axis(lines) else 'n'}",
        "Line charts: a line for each generator's majority vote and for each verifier's rule. The table "
        "below has its figures.",
        partial(comparison_figure, report),
        Table("Accuracy against tokens", ["line", "n", "tokens a problem", "accuracy %"], rows, folded=True),
        switches=[(line["key"], line["label"]) for line in lines],
    )


def _tokens(cell: Report, name: str) -> str:
    value = (cell.get("cost") or {}).get(name)
    return "" if value is None else f"{value:,.0f}"


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2g}"
