"""Pictures of `shepherd eval-steps`: the sweep over thresholds, and the reliability diagram.

Drawn from the JSON of a result, so that an old one can be drawn again. Colours are Okabe and Ito's, and each
line has a style and a label of its own. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")

_SWEEP = {
    "f1": ("F1", "#000000", "-", 2.2),
    "acc_error": ("first error named", "#D55E00", "--", 1.4),
    "acc_clean": ("clean rows called clean", "#0072B2", "-.", 1.4),
}
_CALIBRATED = {
    "raw": ("as it is", "#000000", "o", "-"),
    "temperature": ("temperature", "#0072B2", "s", "--"),
    "isotonic": ("isotonic", "#D55E00", "^", ":"),
}


def plot_sweep(result: Mapping[str, Any], path: Path, title: str) -> list[Path]:
    """Draw the first-error figures against the threshold, with the fitted one marked.

    Args:
        result: a result of `eval.step_report` as JSON.
        path: without suffix; a PNG and an SVG appear, each whole or not at all.
        title: first line above the picture.

    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, (label, colour, style, width) in _SWEEP.items():
        points = [(each["threshold"], each[name]) for each in result["sweep"] if each[name] is not None]
        if points:
            x, y = zip(*points, strict=True)
            # Between two neighbouring scores nothing changes; the line runs through the middles.
            axes.plot(x, y, color=colour, linestyle=style, linewidth=width, label=label)
    threshold = result["threshold"]
    how = "fitted on other problems" if result["split"]["threshold_fitted"] else "not fitted"
    axes.axvline(threshold["value"], color="#767676", linewidth=1.2, linestyle=":",
                 label=f"threshold {threshold['value']:.3f}, {how}")  # fmt: skip
    if threshold["ci95"] is not None:
        axes.axvspan(*threshold["ci95"], color="#767676", alpha=0.12, linewidth=0)
    # Beyond the last but one point nothing is below the threshold that was not before it.
    last = result["sweep"][-2]["threshold"] if len(result["sweep"]) > 1 else 1.0
    axes.set_xlim(0, min(1.0, 1.05 * max(last, threshold["value"])) or 1.0)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("threshold: a step that scores below it is called wrong")
    axes.set_ylabel("share of rows (F1: harmonic mean)")
    _dress(axes)
    split = result["split"]["report"]
    axes.set_title(f"{title}\n{split['rows']:,} rows of {split['problems']:,} problems", loc="left",
                   fontsize=10, parse_math=False)  # fmt: skip
    return _save(figure, path)


def plot_reliability(
    result: Mapping[str, Any],
    calibrated: Mapping[str, Sequence[Mapping[str, float]]],
    path: Path,
    title: str,
) -> list[Path]:
    """Draw the share of good steps against the mean score, bin by bin, before and after calibration.

    Args:
        result: as in `plot_sweep`.
        calibrated: bins by the kind of calibration, each as ``reliability`` has them; may be empty.
        path: as in `plot_sweep`.
        title: first line above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [0, 1], [0, 1], color="#767676", linewidth=1, linestyle=(0, (8, 3)), label="a score means itself"
    )
    for name, bins in {"raw": result["reliability"], **calibrated}.items():
        label, colour, marker, style = _CALIBRATED[name]
        x, y = [each["mean_score"] for each in bins], [each["share_good"] for each in bins]
        axes.plot(
            x, y, color=colour, marker=marker, linestyle=style, linewidth=1.3, markersize=4, label=label
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("mean score of a bin (bins of equal size)")
    axes.set_ylabel("share of steps that are right")
    _dress(axes)
    ece = result["ece"]["value"]
    said = "" if ece is None else f", calibration error {ece:.3f} as it is"
    axes.set_title(f"{title}\n{result['split']['report']['steps']:,} steps{said}", loc="left", fontsize=10,
                   parse_math=False)  # fmt: skip
    return _save(figure, path)


def _dress(axes: Any) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)


def _save(figure: Figure, path: Path) -> list[Path]:
    """Write each format; no date and no random ids, so that equal results are equal bytes."""
    import matplotlib

    files = []
    with matplotlib.rc_context({"svg.hashsalt": "shepherd"}):
        for format in FORMATS:
            file = path.with_name(f"{path.name}.{format}")
            with atomic_write(file, "wb") as handle:
                figure.savefig(handle, format=format, metadata={"Date": None} if format == "svg" else None)
            files.append(file)
    return files
