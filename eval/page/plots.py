"""Plots of step metrics and of compute; those of accuracy against n are in `eval.plots`.

The colours are those of `eval.plots`. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLACK, _GREY, _BLUE, _ORANGE, _GREEN = "#000000", "#767676", "#0072B2", "#D55E00", "#009E73"
_CYCLE = (_BLACK, _BLUE, _ORANGE, _GREEN, "#B85C92", "#B07D00")


def sweep_figure(report: Mapping[str, Any], title: str) -> Figure:
    """F1 and both accuracies of an ``eval-steps`` report against the threshold."""
    figure, axes = _axes((7.2, 4.6), title)
    thresholds = [point["threshold"] for point in report["sweep"]]
    for name, label, colour, style in (
        ("f1", "F1", _BLACK, "-"),
        ("acc_error", "accuracy, erroneous rows", _ORANGE, "--"),
        ("acc_clean", "accuracy, clean rows", _BLUE, "-."),
    ):
        values = [_or_nan(point.get(name)) for point in report["sweep"]]
        axes.plot(
            thresholds, values, color=colour, linestyle=style, linewidth=1.8, label=label, gid=f"line-{name}"
        )
    fitted = (report.get("threshold") or {}).get("value")
    if fitted is not None:
        axes.axvline(fitted, color=_GREY, linestyle=":", linewidth=1.2, label=f"threshold: {fitted:.3f}")
    axes.set_xlabel("threshold: a step under it is taken as wrong")
    axes.set_ylabel("share of rows")
    axes.set_ylim(-0.02, 1.02)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


def reliability_figure(report: Mapping[str, Any], title: str) -> Figure:
    """The share of good steps against the mean score of an ``eval-steps`` report, a dot a bin."""
    figure, axes = _axes((5.4, 5.0), title)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1.2, label="perfect calibration")
    scores = [each["mean_score"] for each in report["reliability"]]
    shares = [each["share_good"] for each in report["reliability"]]
    axes.plot(scores, shares, color=_BLUE, linewidth=1.4, marker="o", markersize=5, label="steps, by bin")
    axes.set_xlabel("mean score of the bin")
    axes.set_ylabel("share of good steps")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


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


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
