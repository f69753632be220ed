"""The picture of a comparison: accuracy against n, and against what it cost, a colour a generator.

Drawn from the JSON of a result, so that an old one can be drawn again. Colours are Okabe and Ito's; line
style and the label say the same again. matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.canvas import dress, legend_below
from shepherd.console import clean
from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HUES = ("#0072B2", "#D55E00", "#009E73", "#B85C92", "#B07D00", "#000000")
_STYLES = ("-", (0, (6, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_VOTE = (0, (2, 2))

Line = Mapping[str, Any]


def plot_comparison(result: Mapping[str, Any], path: Path) -> None:
    """Write `comparison_figure` as a PNG at ``path``; it appears whole or not at all."""
    figure = comparison_figure(result)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")


def comparison_figure(result: Mapping[str, Any]) -> Figure:
    """On the left accuracy against n, on the right against what n candidates and their scores take.

    That is operations, or tokens where the models' sizes are not known; the right panel is left out where
    neither is. What belongs to one line of `lines_of` has the id ``rule-<part>-<key>`` (the part is ``band``
    or ``line``, on the right ``band2`` or ``line2``), by which a page that shows the SVG can hide it.

    Args:
        result: as ``results.json`` of a comparison has it.
    """
    from matplotlib.figure import Figure

    lines = lines_of(result)
    cost = cost_axis(lines)
    figure = Figure(figsize=(11.0, 5.4) if cost else (7.2, 5.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2 if cost else 1, sharey=True, squeeze=False)[0]
    names = " and ".join(result["generators"]) if len(result["generators"]) == 2 else "generators"
    problems = " or ".join(f"{each:,}" for each in problems_of(result))
    said = f"{names}: {problems} problems; expected over the pool's subsets; bands: 95%"
    _draw(panels[0], lines, "n", "n, candidates a problem", base=2, title=clean(said))
    panels[0].set_ylabel("problems answered correctly")
    if cost:
        _draw(panels[1], lines, *cost, base=10, title="", again="2")
    legend_below(figure, panels[0], min(4, len(lines)))
    return figure


def problems_of(result: Mapping[str, Any]) -> list[int]:
    """How many problems the cells are of: one number where all are of the same ones."""
    return sorted({cell["report"]["problems"] for cell in result["cells"]})


def lines_of(result: Mapping[str, Any]) -> list[Line]:
    """The lines of the picture: of each generator majority vote, and each verifier's rule, with its cost.

    Majority vote costs what was generated; a verifier's rule costs what it read besides.

    Returns:
        For each its ``key``, ``label``, ``colour``, ``style`` and ``points``: those of the curve, with
        ``tokens`` and ``operations`` a problem, None where they are not known.
    """
    lines: list[Line] = []

    def add(label: str, colour: str, style: Any, points: list[Line]) -> None:
        key = str(len(lines) + 1)
        lines.append({"key": key, "label": clean(label), "colour": colour, "style": style, "points": points})

    for number, generator in enumerate(result["generators"]):
        cells = [cell for cell in result["cells"] if cell["generator"] == generator]
        colour = _HUES[number % len(_HUES)]
        vote = cells[0]["report"]["curves"]["majority"]
        add(f"{generator}, majority vote", colour, _VOTE, _points(vote, cells[0], read=False))
        for at, cell in enumerate(cells):
            curve = cell["report"]["curves"].get(cell["report"]["headline"])
            if curve is not None:
                label = f"{generator}, best of n by {cell['verifier']}"
                add(label, colour, _STYLES[at % len(_STYLES)], _points(curve, cell, read=True))
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


def _draw(
    axes: Axes, lines: Sequence[Line], key: str, label: str, *, base: int, title: str, again: str = ""
) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    for line in lines:
        x = [point[key] for point in line["points"]]
        low, high = zip(*(point["ci95"] for point in line["points"]), strict=True)
        axes.fill_between(
            x, low, high, color=line["colour"], alpha=0.08, linewidth=0, gid=f"rule-band{again}-{line['key']}"
        )
        axes.plot(
            x, [point["accuracy"] for point in line["points"]], color=line["colour"], linestyle=line["style"],
            linewidth=1.8, marker="s", markersize=3.5, label=line["label"],
            gid=f"rule-line{again}-{line['key']}",
        )  # fmt: skip
    axes.set_xscale("log", base=base)
    if key == "n":
        ns = sorted({point["n"] for line in lines for point in line["points"]})
        axes.xaxis.set_major_locator(FixedLocator(ns))
        axes.set_xticklabels([str(n) for n in ns])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0))
    axes.set_xlabel(label)
    dress(axes, title)
