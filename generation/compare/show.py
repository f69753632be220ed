"""A comparison as people read it: the grid, the differences, the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.figures import interval, percent, points
from eval.significance import NONE_SHOWN, rounded_up
from generation.compare.run import PICTURE
from generation.report_table import p_value
from shepherd import console


def show_comparison(result: Mapping[str, Any], folder: Path) -> None:
    """Print a comparison.

    Args:
        result: as ``results.json`` has it.
        folder: the run directory.
    """
    console.table(
        f"best of {result['n']} on {result['problems']:,} problems that all have",
        (
            "generator",
            "verifier",
            "pass@1",
            f"pass@{result['n']}",
            "majority",
            "best of n",
            "gain",
            "95%",
            "tokens",
        ),
        [_row(cell) for cell in result["cells"]],
    )
    console.table(
        "differences in points, paired over problems; p corrected for all of them (Holm)",
        ("what", "difference", "95%", "p", "differ on", "verdict"),
        [
            [
                each["what"],
                points(each["difference"]),
                interval(each["ci95"], signed=True),
                p_value(each["p_holm"]),
                f"{each['problems_differing']:,}",
                _shown(each),
            ]
            for each in result["differences"]
        ],
    )
    out = console.stdout()
    left = {name: count for name, count in result["problems_left_out"].items() if count}
    if left:
        out.print(
            "left out, for not all have them: "
            + ", ".join(f"{count:,} of {name}" for name, count in left.items())
        )
    out.print(f"{result['answer']}\npicture: {folder / PICTURE}\nfiles: {folder}")


def _shown(difference: Mapping[str, Any]) -> str:
    """The verdict, short enough for a column."""
    if not difference["verdict"].startswith(NONE_SHOWN):
        return str(difference["verdict"])
    least = difference["detectable"]
    return "not shown" if least is None else f"not shown ({rounded_up(least)} would be)"


def _row(cell: Mapping[str, Any]) -> list[str]:
    """Tokens are those of one candidate, written and read."""
    report, cost = cell["report"], cell["cost"]
    best = report["rules"].get(report["headline"])
    gain = report["paired"].get(f"{report['headline']}_minus_majority")
    tokens = [cost["generated_tokens"], cost["scored_tokens"]]
    return [
        cell["generator"],
        cell["verifier"],
        percent(report["pass_at_1"]),
        percent(report["pass_at_n"]),
        percent(report["rules"]["majority"]["accuracy"]),
        "" if best is None else percent(best["accuracy"]),
        "" if gain is None else points(gain["difference"]),
        "" if gain is None else interval(gain["ci95"], signed=True),
        " + ".join("?" if each is None else f"{each:.0f}" for each in tokens),
    ]
