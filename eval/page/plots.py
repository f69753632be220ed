"""Plots of compute; those of accuracy against n are in `eval.plots`.

The colours are those of `eval.plots`. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLACK, _BLUE, _ORANGE, _GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
_CYCLE = (_BLACK, _BLUE, _ORANGE, _GREEN, "#B85C92", "#B07D00")


def compute_figure(
    lines: Sequence[tuple[str, Sequence[tuple[float, Mapping[str, Any]]]]], title: str
) -> Figure:
    """Accuracy against tokens, a line a label: (tokens, curve point) each."""
    from matplotlib.ticker import PercentFormatter

    figure, axes = _axes((8.4, 5.2), title)
    for place, (label, points) in enumerate(lines):
        tokens = [each for each, _ in points]
        accuracy = [point["accuracy"] for _, point in points]
        low, high = zip(*(point["ci95"] for _, point in points), strict=True)
        colour = _CYCLE[place % len(_CYCLE)]
        axes.fill_between(tokens, low, high, color=colour, alpha=0.07, linewidth=0)
        axes.plot(
            tokens, accuracy, color=colour, marker="osD^vx"[place % 6], markersize=4, linewidth=1.6,
            linestyle=("-", "--", "-.")[place % 3], label=label,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    axes.set_xlabel("tokens generated and scored")
    axes.set_ylabel("problems answered correctly")
    if lines:
        for text in axes.legend(frameon=False, fontsize=8.5).get_texts():
            text.set_parse_math(False)
    return figure


def _axes(size: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10.5, parse_math=False)
    return figure, axes
