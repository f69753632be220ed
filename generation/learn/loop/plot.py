"""The picture of a loop: what was gained, and every watch, round by round. Drawn from the records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.canvas import dress
from generation.learn.loop.record import Round
from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACCURACIES = (
    ("greedy", "greedy pass@1", "#0072B2", "-"),
    ("sampled", "sampled pass@1", "#D55E00", (0, (6, 2))),
    ("majority", "majority", "#000000", (0, (2, 2))),
    ("best_of_n", "best of n", "#009E73", (0, (3, 1, 1, 1))),
)
_WATCHES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("DPO loss, probe pairs (nats)", ("probe_loss",)),
    ("reward margin, probe pairs", ("probe_margin",)),
    ("probe pairs, nats a token", ("chosen_logp", "rejected_logp")),
    ("KL to reference (nats a token)", ("kl",)),
    ("entropy (nats a token)", ("entropy",)),
    ("tokens a solution", ("tokens",)),
    ("share with an answer", ("answered",)),
    ("verifier's score − accuracy", ("gap",)),
)
_NAMES = {"chosen_logp": "accepted", "rejected_logp": "rejected"}


def plot_rounds(rounds: Sequence[Round], path: Path, title: str) -> None:
    """Write `rounds_figure` as a PNG at ``path``; it appears whole or not at all."""
    figure = rounds_figure(rounds, title)
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, format="png")


def rounds_figure(rounds: Sequence[Round], title: str) -> Figure:
    """Accuracies on the validation problems with their 95% bands, and a small panel a watch.

    Args:
        rounds: round 0 and all that are finished.
        title: what was trained, and how.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 8.4), dpi=130, layout="constrained")
    grid = figure.add_gridspec(4, 4, height_ratios=(1.15, 1.15, 1, 1))
    main, added = figure.add_subplot(grid[:2, :2]), figure.add_subplot(grid[:2, 2:])
    _accuracies(main, rounds, title)
    _gains(added, rounds)
    for index, (name, keys) in enumerate(_WATCHES):
        panel = figure.add_subplot(grid[2 + index // 4, index % 4])
        _watch(panel, rounds, name, keys)
    for axes in figure.axes:
        axes.set_xticks([each.round for each in rounds])
    return figure


def _accuracies(axes: Axes, rounds: Sequence[Round], title: str) -> None:
    dress(axes, title)
    at = [each.round for each in rounds]
    for key, name, colour, style in _ACCURACIES:
        found: list[Mapping[str, Any]] = [each.validation[key] for each in rounds if key in each.validation]
        if len(found) < len(rounds):
            continue
        axes.plot(
            at, [each["accuracy"] for each in found], color=colour, linestyle=style, marker="o", label=name
        )
        if key == "greedy":
            low, high = ([each["ci95"][end] for each in found] for end in (0, 1))
            axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_ylabel(f"accuracy, {rounds[0].validation['problems']:,} validation problems")
    axes.set_xlabel("round (0: before training); band: 95% of greedy pass@1")
    axes.legend(frameon=False, fontsize=8.5, loc="best")


def _gains(axes: Axes, rounds: Sequence[Round]) -> None:
    """Differences from round 0, paired by problem: what the bands on the left cannot show."""
    dress(axes, "minus round 0, paired by problem; bars: 95%")
    later = [each for each in rounds if each.against_first]
    for shift, (key, name, colour, _) in zip((-0.15, -0.05, 0.05, 0.15), _ACCURACIES, strict=True):
        found = [(each.round, each.against_first[key]) for each in later if key in each.against_first]
        if not found:
            continue
        values = [100 * each["difference"] for _, each in found]
        low = [100 * (each["difference"] - each["ci95"][0]) for _, each in found]
        high = [100 * (each["ci95"][1] - each["difference"]) for _, each in found]
        at = [number + shift for number, _ in found]
        axes.errorbar(
            at, values, yerr=(low, high), color=colour, fmt="o", capsize=3, markersize=4, label=name
        )
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_ylabel("points")
    axes.set_xlabel("round")


def _watch(axes: Axes, rounds: Sequence[Round], name: str, keys: Sequence[str]) -> None:
    dress(axes, name)
    axes.title.set_fontsize(8.5)
    axes.tick_params(labelsize=8)
    for key, colour, style in zip(keys, ("#0072B2", "#D55E00"), ("-", (0, (4, 2))), strict=False):
        found = [(each.round, getattr(each.watched, key)) for each in rounds]
        known = [(at, value) for at, value in found if value is not None]
        axes.plot(
            [at for at, _ in known], [value for _, value in known],
            color=colour, linestyle=style, marker="o", markersize=3.5, label=_NAMES.get(key, key),
        )  # fmt: skip
    if len(keys) > 1:
        axes.legend(frameon=False, fontsize=8, loc="best")
