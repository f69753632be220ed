"""A table in Markdown, as README and docs show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MIB, GIB = 2**20, 2**30

Result = Mapping[str, Any]
"""Of a benchmark, as its file in results/ has it."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of cells between pipes, which are taken as they are: no text of a model stands in them."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
