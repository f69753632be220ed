"""The picture of a comparison: accuracy against n, and against what it cost, a colour a generator.

Colours are Okabe and Ito's; line style and the label at the line's end say the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HUES = ("#0072B2", "#D55E00", "#009E73", "#B85C92", "#B07D00", "#000000")
_STYLES = ("-", (0, (6, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_VOTE = (0, (2, 2))

Line = Mapping[str, Any]


def plot_comparison(result: Mapping[str, Any], path: Path) -> None:
    """Draw a comparison and write it as a PNG.

    On the left accuracy against n, on the right against the operations (or tokens, where the models' sizes
    are not known) that n candidates and their scores take; the right is left out where neither is known.

    Args:
        result: as ``results.json`` has it.
        path: where the PNG goes; it appears whole or not at all.
    """
    from matplotlib.figure import Figure

    lines = lines_of(result)
    cost = cost_axis(lines)
    figure = Figure(figsize=(11.0, 5.2) if cost else (7.2, 5.2), dpi=150, layout="constrained")
    axes = figure.subplots(1, 2 if cost else 1, sharey=True, squeeze=False)[0]
    _draw(axes[0], lines, "n", "n, candidates a problem", base=2)
    axes[0].set_ylabel("problems answered correctly")
    if cost:
        _draw(axes[1], lines, *cost, base=10)
    names = " and ".join(result["generators"]) if len(result["generators"]) == 2 else "generators"
    axes[0].set_title(
        f"{names}: {result['problems']:,} problems; expected over the pool's subsets; bands: 95%",
        loc="left", fontsize=10, parse_math=False,
    )  # fmt: skip
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(lines)), frameon=False, fontsize=8.5
    )
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")


def lines_of(result: Mapping[str, Any]) -> list[Line]:
    """The lines of the picture: of each generator majority vote, and each verifier's rule, with its cost.

    Majority vote costs what was generated; a verifier's rule costs what it read besides.
    """
    lines: list[Line] = []
    for number, generator in enumerate(result["generators"]):
        cells = [cell for cell in result["cells"] if cell["generator"] == generator]
        look = {"colour": _HUES[number % len(_HUES)]}
        vote = cells[0]["report"]["curves"]["majority"]
        label = f"{generator}, majority vote"
        lines.append({**look, "label": label, "style": _VOTE, "points": _points(vote, cells[0], read=False)})
        for at, cell in enumerate(cells):
            curve = cell["report"]["curves"].get(cell["report"]["headline"])
            if curve is not None:
                label = f"{generator}, best of n by {cell['verifier']}"
                style = _STYLES[at % len(_STYLES)]
                lines.append(
                    {**look, "label": label, "style": style, "points": _points(curve, cell, read=True)}
                )
    return lines


def cost_axis(lines: Sequence[Line]) -> tuple[str, str] | None:
    """What the right panel's axis is: operations, else tokens, if every point has them; else None."""
    named = (("operations", "operations a problem (2 a parameter and token)"), ("tokens", "tokens a problem"))
    for key, label in named:
        if all(point[key] for line in lines for point in line["points"]):
            return key, label
    return None


def _points(curve: Sequence[Line], cell: Line, *, read: bool) -> list[Line]:
    costs = {each["n"]: each for each in cell["cost"]["points"]}
    size = cell["cost"]["generator_parameters"]
    found: list[Line] = []
    for point in curve:
        cost = costs[point["n"]]
        generated, scored = cost["generated_tokens"], cost["scored_tokens"]
        if read:
            tokens = None if generated is None or scored is None else generated + scored
            operations = cost["operations"]
        else:
            tokens = generated
            operations = None if generated is None or size is None else 2 * generated * size
        found.append({**point, "tokens": tokens, "operations": operations})
    return found


def _draw(axes: Axes, lines: Sequence[Line], key: str, label: str, *, base: int) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    for line in lines:
        x = [point[key] for point in line["points"]]
        low, high = zip(*(point["ci95"] for point in line["points"]), strict=True)
        axes.fill_between(x, low, high, color=line["colour"], alpha=0.08, linewidth=0)
        axes.plot(
            x, [point["accuracy"] for point in line["points"]], color=line["colour"], linestyle=line["style"],
            linewidth=1.8, marker="s", markersize=3.5, label=line["label"],
        )  # fmt: skip
    axes.set_xscale("log", base=base)
    if key == "n":
        ns = sorted({point["n"] for line in lines for point in line["points"]})
        axes.xaxis.set_major_locator(FixedLocator(ns))
        axes.set_xticklabels([str(n) for n in ns])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    axes.set_xlabel(label)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
