"""Pictures of a report: accuracy against n, one line a rule, with 95% bands.

matplotlib is imported when a picture is drawn, and draws without a display (its own figure, no global state).
Colours are Okabe and Ito's (the pink darkened for its label), which stay apart for colour-blind readers; line
style and the label at the line's end say the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HUES = {"min": "#0072B2", "softmin": "#3A9BD1", "prod": "#D55E00", "last": "#009E73", "mean": "#B85C92"}
_BASELINES = {"loglik": "--", "shortest": ":", "random": "-."}
_BLACK, _GREY, _CONTROL = "#000000", "#767676", "#B07D00"
_LABEL_GAP = 0.043  # least distance of two labels, in heights of the axes


@dataclass(frozen=True, slots=True)
class _Look:
    label: str
    colour: str
    style: str | tuple[int, tuple[int, int]]
    width: float
    marker: str


def _look(rule: str) -> _Look:
    """Majority is black and thick, baselines grey; a score keeps its hue, dashed as a weighted vote.

    A calibrated score has a diamond where the plain one has a square.
    """
    if rule == "majority":
        return _Look("majority", _BLACK, "-", 2.6, "o")
    if rule == "pass_at_n":
        return _Look("pass@n (ceiling)", _GREY, (0, (8, 3)), 1.6, "None")
    if rule in _BASELINES:
        return _Look(rule, _GREY, _BASELINES[rule], 1.2, "None")
    score = rule.removeprefix("weighted_")
    how = score.removeprefix("calibrated_")
    if how in _HUES:
        style, marker = "-" if score == rule else "--", "s" if how == score else "D"
        return _Look(rule.replace("_", " "), _HUES[how], style, 1.6, marker)
    return _Look(rule.replace("_", " "), _CONTROL, "-", 1.2, "x")


def plot_curves(report: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw accuracy against n for every rule of a report, and write it as a PNG.

    Args:
        report: the report's JSON (`eval.report.RerankReport.to_json`, or a ``results.json`` read back).
        path: where the PNG goes; it appears whole or not at all.
        title: first line above the picture.
    """
    with atomic_write(path, "wb") as file:
        curves_figure(report, title).savefig(file, format="png")


def curves_figure(report: Mapping[str, Any], title: str) -> Figure:
    """Accuracy against n for every rule of a report.

    What belongs to one rule (line, band, label, leader) has the id ``rule-<part>-<name>``, by which a page
    that shows the SVG can hide it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    figure = Figure(figsize=(9.6, 6.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = report["curves"]
    ends: list[tuple[float, str]] = []
    for rule, points in curves.items():
        look = _look(rule)
        ns = np.array([point["n"] for point in points])
        accuracy = np.array([point["accuracy"] for point in points])
        low, high = np.array([point["ci95"] for point in points]).T
        front = {"majority": 4, "pass_at_n": 1}.get(rule, 2 if look.colour == _GREY else 3)
        axes.fill_between(
            ns,
            low,
            high,
            color=look.colour,
            alpha=0.07,
            linewidth=0,
            zorder=front - 1,
            gid=f"rule-band-{rule}",
        )
        axes.plot(
            ns, accuracy, color=look.colour, linestyle=look.style, linewidth=look.width, marker=look.marker,
            markersize=3.5, zorder=front, gid=f"rule-line-{rule}",
        )  # fmt: skip
        ends.append((float(accuracy[-1]), rule))
    points_drawn = sorted({point["n"] for points in curves.values() for point in points})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(points_drawn))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(n) for n in points_drawn])
    axes.set_xlim(points_drawn[0] / 1.06, points_drawn[-1] * 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    axes.set_xlabel("n, candidates a problem")
    axes.set_ylabel("problems answered correctly")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{title}\n{report['problems']:,} problems; expected over the pool's subsets; bands: 95%",
        loc="left", fontsize=10.5, parse_math=False,
    )  # fmt: skip
    _label_ends(axes, ends)
    return figure


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str]]) -> None:
    """Name each line at its right end, in its colour, moved apart where lines end close together."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda each: each[0])
    heights = [(value - low) / (high - low) for value, _ in ordered]
    for (value, rule), height, at in zip(ordered, heights, _spread(heights), strict=True):
        look = _look(rule)
        label = axes.annotate(
            f"{look.label}  {100 * value:.1f}",
            xy=(1.0, height), xycoords="axes fraction", xytext=(1.045, at), textcoords="axes fraction",
            color=look.colour, fontsize=8.5, va="center", ha="left", parse_math=False,
            fontweight="bold" if look.label == "majority" else "normal",
            arrowprops={
                "arrowstyle": "-", "color": look.colour, "linewidth": 0.6, "linestyle": look.style,
                "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5),
            },
        )  # fmt: skip
        label.set_gid(f"rule-label-{rule}")
        if label.arrow_patch is not None:
            label.arrow_patch.set_gid(f"rule-leader-{rule}")


def _spread(heights: Sequence[float]) -> list[float]:
    """Positions a gap apart, or what there is room for, near to ``heights``; both ascending.

    Example:
        >>> [round(height, 4) for height in _spread([0.1, 0.5, 0.5])]
        [0.1, 0.4785, 0.5215]
    """
    gap = min(_LABEL_GAP, 1 / max(len(heights) - 1, 1))
    # Without the gaps this is isotonic regression: neighbours out of order are pooled at their mean.
    pools: list[tuple[float, int]] = []
    for index, height in enumerate(heights):
        pools.append((height - index * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (first, before), (second, after) = pools[-2:]
            pools[-2:] = [((first * before + second * after) / (before + after), before + after)]
    flat = [height for height, members in pools for _ in range(members)]
    ceiling = 1.0 - (len(flat) - 1) * gap
    return [min(max(height, 0.0), max(ceiling, 0.0)) + index * gap for index, height in enumerate(flat)]
