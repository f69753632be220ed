"""What all pictures share: how axes look, and how a figure becomes files.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def dress(axes: Axes, title: str) -> None:
    """A quiet grid, no frame above and to the right, and a title that is text, not mathematics."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Name the lines of ``axes`` under the figure, where a wider font of a page covers none of them."""
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    legend = figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def write_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and as SVG; equal figures are equal bytes: no date, no random ids.

    Args:
        figure: the plot.
        path: without suffix; each file appears whole or not at all.

    Returns:
        The files.
    """
    files = [path.with_name(f"{path.name}.{suffix}") for suffix in FORMATS]
    with drawing("path", path.name):
        for file in files:
            metadata = {"Date": None} if file.suffix == ".svg" else None
            with atomic_write(file, "wb") as handle:
                figure.savefig(handle, format=file.suffix[1:], metadata=metadata)
    return files


@contextmanager
def drawing(fonttype: str, salt: str) -> Iterator[None]:
    """How text is drawn in an SVG, and what its ids are made from.

    A name in a script that matplotlib's own font lacks is boxes in a PNG; that is no cause for warnings.
    """
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": fonttype, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield
