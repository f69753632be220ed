"""Pictures of `shepherd eval-steps`: the sweep over thresholds, and the reliability diagram.

Drawn from the JSON of a result, so that an old one can be drawn again; what it has not is left out. Colours
are Okabe and Ito's, and each line has a style and a label of its own. matplotlib is imported when a picture
is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.canvas import dress, legend_below, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GREY = "#767676"
SWEPT = {"f1": "F1", "acc_error": "first error named", "acc_clean": "clean rows called clean"}
"""Lines of the sweep, and what they are called."""
_SWEEP_LOOKS = {
    "f1": ("#000000", "-", 2.2),
    "acc_error": ("#D55E00", "--", 1.4),
    "acc_clean": ("#0072B2", "-.", 1.4),
}

CALIBRATED = {"raw": "as it is", "temperature": "temperature", "isotonic": "isotonic"}
"""Lines of the reliability diagram: the scores as they are, and by the kind of calibration."""
_CALIBRATED_LOOKS = {
    "raw": ("#000000", "o", "-"),
    "temperature": ("#0072B2", "s", "--"),
    "isotonic": ("#D55E00", "^", ":"),
}


def plot_sweep(result: Mapping[str, Any], path: Path, title: str) -> list[Path]:
    """Write `sweep_figure` as ``path``.png and ``path``.svg, each whole or not at all."""
    return write_figure(sweep_figure(result, title), path)


def plot_reliability(result: Mapping[str, Any], path: Path, title: str) -> list[Path]:
    """Write `reliability_figure` as ``path``.png and ``path``.svg, each whole or not at all."""
    return write_figure(reliability_figure(result, title), path)


def sweep_figure(result: Mapping[str, Any], title: str) -> Figure:
    """The first-error figures against the threshold, with the one that is used and its interval.

    The line of a figure has the id ``rule-line-<name>``, by which a page that shows the SVG can hide it.

    Args:
        result: a result of `eval.step_report` as JSON.
        title: first line above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, (colour, style, width) in _SWEEP_LOOKS.items():
        points = [(each["threshold"], each[name]) for each in result["sweep"] if each.get(name) is not None]
        if points:
            x, y = zip(*points, strict=True)
            # Between two neighbouring scores nothing changes; the line runs through the middles.
            axes.plot(
                x, y, color=colour, linestyle=style, linewidth=width, label=SWEPT[name],
                gid=f"rule-line-{name}",
            )  # fmt: skip
    used = result["threshold"]
    # Beyond the last but one point nothing is below the threshold that was not before it.
    last = result["sweep"][-2]["threshold"] if len(result["sweep"]) > 1 else 1.0
    if used["value"] is not None:
        axes.axvline(used["value"], color=_GREY, linewidth=1.2, linestyle=":",
                     label=f"threshold {used['value']:.3f}{_fitted(result)}")  # fmt: skip
        last = max(last, used["value"])
        if used["ci95"] is not None:
            axes.axvspan(*used["ci95"], color=_GREY, alpha=0.12, linewidth=0)
    axes.set_xlim(0, min(1.0, 1.05 * last) or 1.0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("threshold: a step that scores below it is called wrong")
    axes.set_ylabel("share of rows (F1: harmonic mean)")
    reported = _reported(result)
    said = f"\n{reported['rows']:,} rows of {reported['problems']:,} problems" if reported else ""
    dress(axes, title + said)
    legend_below(figure, axes, 2)
    return figure


def reliability_figure(result: Mapping[str, Any], title: str) -> Figure:
    """The share of good steps against the mean score, bin by bin, before and after calibration.

    The line of a kind of calibration has the id ``rule-line-<kind>``, that of the scores as they are
    ``rule-line-raw``.

    Args:
        result: as in `sweep_figure`.
        title: first line above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 6.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle=(0, (8, 3)), label="a score means itself")
    calibrated = result.get("reliability_calibrated") or {}
    for name, bins in {"raw": result["reliability"], **calibrated}.items():
        colour, marker, style = _CALIBRATED_LOOKS[name]
        x, y = [each["mean_score"] for each in bins], [each["share_good"] for each in bins]
        axes.plot(
            x, y, color=colour, marker=marker, linestyle=style, linewidth=1.3, markersize=4,
            label=CALIBRATED[name], gid=f"rule-line-{name}",
        )  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("mean score of a bin (bins of equal size)")
    axes.set_ylabel("share of steps that are right")
    reported, ece = _reported(result), (result.get("ece") or {}).get("value")
    said = [f"{reported['steps']:,} steps"] if reported else []
    said += [] if ece is None else [f"calibration error {ece:.3f} as it is"]
    dress(axes, "\n".join(filter(None, (title, ", ".join(said)))))
    legend_below(figure, axes, 2)
    return figure


def _reported(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How many rows, problems and steps the figures are of."""
    return (result.get("split") or {}).get("report")


def _fitted(result: Mapping[str, Any]) -> str:
    fitted = (result.get("split") or {}).get("threshold_fitted")
    return "" if fitted is None else ", fitted on other problems" if fitted else ", not fitted"
