"""Plots as files (PNG, SVG) and as SVG inside the page, where it follows the page's theme.

The page forbids style attributes and outer files, so inside the page every style is a presentation attribute
and every colour a variable of the page's style sheet.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from shepherd.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

# The colours of eval.plots and eval.page.plots, by the names that page.css gives them in both themes.
_COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "none",
    "#dddddd": "var(--grid)",
    "#767676": "var(--line-grey)",
    "#0072b2": "var(--line-blue)",
    "#d55e00": "var(--line-orange)",
    "#009e73": "var(--line-green)",
    "#b85c92": "var(--line-pink)",
    "#b07d00": "var(--line-ochre)",
    "#3a9bd1": "var(--line-sky)",
}
_PIXELS_A_POINT = 4 / 3
_DROPPED = {"font-family"}  # the page's own
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def write_files(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a plot as PNG and as SVG (text as paths, no date), each whole or not at all."""
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "svg")]
    with _settings("path", name):
        for path in paths:
            with atomic_write(path, "wb") as file:
                figure.savefig(
                    file, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None
                )
    return paths


def inline_svg(figure: Figure, name: str, says: str) -> str:
    """A plot as an SVG element for the page.

    Args:
        figure: the plot.
        name: put before every id, since a page has several plots.
        says: what a screen reader says of it.
    """
    buffer = io.BytesIO()
    with _settings("none", name):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    for node in root.iter():
        _plain(node, name)
    # Its own size, in pixels of the page; the style sheet lets it shrink.
    root.attrib.pop("height", None)
    root.set("width", str(round(float(root.attrib["width"].removesuffix("pt")) * _PIXELS_A_POINT)))
    # What the style sheet of matplotlib says of every element.
    root.attrib |= {"stroke-linejoin": "round", "fill": "currentColor", "role": "img", "aria-label": says}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


@contextmanager
def _settings(fonttype: str, salt: str) -> Iterator[None]:
    """How text is drawn in an SVG, and what its ids are made from.

    A name in a script that matplotlib's own font lacks is boxes in a PNG; that is no cause for warnings.
    """
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": fonttype, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def _plain(node: ET.Element, name: str) -> None:
    """Style to attributes, colours to variables, ids and references with the prefix."""
    style = node.attrib.pop("style", "")
    for declared in filter(None, (each.strip() for each in style.split(";"))):
        key, _, value = declared.partition(":")
        if key not in _DROPPED:
            node.set(key, value.strip())
    for key, value in list(node.attrib.items()):
        if key == "id":
            node.set(key, f"{name}-{value}")
        elif key == f"{{{_XLINK}}}href":
            del node.attrib[key]
            node.set("href", f"#{name}-{value.removeprefix('#')}")
        elif value in _COLOURS:
            node.set(key, _COLOURS[value])
        elif "url(#" in value:
            node.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))


def colours(svg: str) -> Iterator[str]:
    """The fixed colours that are left in an SVG: they would not follow the theme."""
    yield from re.findall(r"#[0-9a-f]{6}\b", svg)
