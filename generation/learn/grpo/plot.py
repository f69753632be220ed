"""The picture of a run: rewards, held-out accuracy, and what the sentinels watch, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.canvas import dress
from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from generation.learn.grpo.evaluations import Evaluation

PICTURE = "batches.png"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#000000", "#3A9BD1")
_STYLES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))
_PANELS = (
    ("KL to the reference (nats a token)", "kl"),
    ("entropy (nats a token)", "entropy"),
    ("tokens a completion", "tokens"),
    ("steps a completion", "steps"),
)
_PREFIX = "reward_"


def plot_batches(
    rows: Sequence[Mapping[str, Any]], evaluations: Sequence[Evaluation], path: Path, title: str
) -> None:
    """Write `batches_figure` as a PNG; it appears whole or not at all."""
    figure = batches_figure(rows, evaluations, title)
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, format="png")


def batches_figure(
    rows: Sequence[Mapping[str, Any]], evaluations: Sequence[Evaluation], title: str
) -> Figure:
    """Each reward's mean, held-out accuracy, groups by fate, KL, entropy, length and steps.

    Args:
        rows: as ``batches.jsonl`` has them.
        evaluations: on the validation problems; the first is of the policy as it began.
        title: what was trained, and how.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12.0, 8.0), dpi=130, layout="constrained")
    grid = figure.add_gridspec(5, 4)
    _rewards(figure.add_subplot(grid[:3, :2]), rows, title)
    _accuracy(figure.add_subplot(grid[:3, 2]), evaluations)
    _groups(figure.add_subplot(grid[:3, 3]), rows)
    for index, (name, key) in enumerate(_PANELS):
        axes = figure.add_subplot(grid[3:, index])
        dress(axes, name)
        found = [(row["batch"], row[key]) for row in rows if row.get(key) is not None]
        axes.plot([at for at, _ in found], [value for _, value in found], color=_COLOURS[0], linewidth=1.2)
        axes.set_xlabel("generation batch")
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    return figure


def _rewards(axes: Axes, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    dress(axes, title)
    names = [key for key in rows[0] if key.startswith(_PREFIX)]
    for index, key in enumerate(names):
        found = [(row["batch"], row[key]) for row in rows if row.get(key) is not None]
        axes.plot(
            [at for at, _ in found], [value for _, value in found],
            color=_COLOURS[index % len(_COLOURS)], linestyle=_STYLES[index % len(_STYLES)], linewidth=1.3,
            label=key.removeprefix(_PREFIX),
        )  # fmt: skip
    axes.set_ylabel("mean reward of what was sampled")
    axes.set_xlabel("generation batch")
    for text in axes.legend(frameon=False, fontsize=8.5, loc="best").get_texts():
        text.set_parse_math(False)


def _accuracy(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    dress(axes, "greedy pass@1, validation")
    at = [each.batch for each in evaluations]
    axes.plot(at, [100 * each.accuracy for each in evaluations], color=_COLOURS[0], marker="o", markersize=4)
    axes.set_ylabel("percent")
    axes.set_xlabel("generation batch")


def _groups(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    dress(axes, "groups sampled, by fate")
    names = list(dict.fromkeys(name for row in rows for name, count in row["groups"].items() if count))
    at = [row["batch"] for row in rows]
    below = [0.0] * len(rows)
    for index, name in enumerate(sorted(names, key=lambda each: each != "kept")):
        counts = [row["groups"].get(name, 0) for row in rows]
        axes.bar(at, counts, 1.0, bottom=below, color=_COLOURS[index], label=name.replace("_", " "))
        below = [low + count for low, count in zip(below, counts, strict=True)]
    axes.set_xlabel("generation batch")
    axes.legend(fontsize=8, loc="lower left", framealpha=0.9)
