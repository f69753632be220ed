"""Plots as SVG inside the page, where they follow the page's theme.

The page forbids style attributes and outer files, so inside the page every style is a presentation attribute
and every colour a variable of the page's style sheet.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING

from eval.canvas import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

# The colours of the plots in eval, by the names that page.css gives them in both themes.
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


def inline_svg(figure: Figure, name: str, says: str) -> str:
    """A plot as an SVG element for the page.

    Args:
        figure: the plot.
        name: put before every id, since a page has several plots.
        says: what a screen reader says of it.
    """
    buffer = io.BytesIO()
    with drawing("none", name):
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
