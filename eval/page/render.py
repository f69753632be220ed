"""The page: one HTML file that asks nothing of any network and lets no text of a run act.

Jinja2 escapes every text; the strict Content-Security-Policy lets only the page's own script and style run
(by their hashes), no request leaves, and Trusted Types forbid every way to make HTML of text in the script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eval.page.blocks import Code, Lines, Picture, Section, Table
from eval.page.pack import packed, script_json
from eval.page.problems import FILTERS, Viewer
from eval.page.visible import script_pattern, visible

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
SCRIPTS = ("text.js", "data.js", "problem.js", "viewer.js", "page.js")
"""The page's script, in the order in which its parts use one another."""


class Shelf(NamedTuple):
    """One choice of the viewer's runs: its key in the page, what it is called, and its problems."""

    key: str
    title: str
    viewer: Viewer


@dataclass(frozen=True, slots=True)
class Page:
    """What is on the page.

    Attributes:
        sections: one a run.
        shelves: what the step viewer can show; of a comparison one a generator and verifier.
        notes: for each run, a line for what is missing.
        drawn: SVG of each picture, by name.
    """

    sections: Sequence[Section]
    shelves: Sequence[Shelf]
    notes: Sequence[Sequence[str]]
    drawn: Mapping[str, str]


def render(page: Page) -> str:
    """The HTML of the page."""
    from markupsafe import Markup

    packs = {}
    for key, _, viewer in page.shelves:
        packs[f"{key}-index"] = packed(viewer.index)
        packs |= {f"{key}-block{number}": packed(block) for number, block in enumerate(viewer.blocks)}
    runs = [
        {
            "key": key,
            "title": title,
            "problems": len(viewer.index["problems"]),
            "filters": [[name, FILTERS[name], count] for name, count in viewer.counts.items()],
        }
        for key, title, viewer in page.shelves
    ]
    script = "".join((_HERE / "static" / name).read_text("utf-8") for name in SCRIPTS)
    style = (_HERE / "static" / "page.css").read_text("utf-8")
    return _environment().get_template("page.html.j2").render(
        policy=policy(script, style),
        script=Markup(script),  # this package's own file
        style=Markup(style),
        drawn={name: Markup(svg) for name, svg in page.drawn.items()},  # matplotlib's, escaped there
        meta=Markup(script_json({"runs": runs, "unseen": script_pattern()})),  # holds no <
        packs=packs,
        sections=page.sections,
        notes=page.notes,
        viewers=page.shelves,
        version=metadata.version("shepherd-prm"),
    )  # fmt: skip


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy of a page with this script and this style.

    Example:
        >>> policy("", "").partition(";")[0]
        "default-src 'none'"
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'sha256-{_digest(script)}'",
            f"style-src 'sha256-{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.tests |= {
        "table": lambda block: isinstance(block, Table),
        "picture": lambda block: isinstance(block, Picture),
        "lines": lambda block: isinstance(block, Lines),
        "code": lambda block: isinstance(block, Code),
    }
    return environment


def _shown(value: Any) -> Any:
    """What is put into the page: texts with what could steer a reader's eye as symbols; markup as it is."""
    return visible(value) if type(value) is str else value
