"""The report as Markdown, for papers and READMEs: verdicts, tables, links to the plots, the command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from eval.page.blocks import Block, Code, Lines, Picture, Section, Table
from eval.page.visible import visible

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&#])")


def markdown(sections: Sequence[Section], plots: str) -> str:
    """Every section under a heading; a text of a run can neither end a table nor open an element.

    Args:
        sections: the runs.
        plots: the folder that holds their plots.
    """
    lines = ["# Report", ""]
    for section in sections:
        lines += [f"## {escaped(section.title)}", "", f"{escaped(section.facts)}.", ""]
        lines += [f"- {line.sign} {escaped(line.text)}" for line in section.verdicts]
        lines.append("")
        for block in section.blocks:
            lines += [*_block(block, plots), ""]
        for block in section.repeat[:2]:  # cost and command; the rest is in the page
            lines += [*_block(block, plots), ""]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    r"""A text in which Markdown sees nothing of its own, on one line.

    Example:
        >>> print(escaped("a|b <script>\n*c*"))
        a\|b \<script\> \*c\*
    """
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def table_lines(table: Table) -> Iterator[str]:
    r"""A table in pipes; the first column to the left, the others to the right.

    Example:
        >>> print(*table_lines(Table("t", ["rule", "%"], [["min", "54.0"]])), sep="\n")
        | rule | % |
        |---|---:|
        | min | 54.0 |
    """
    yield f"| {' | '.join(map(escaped, table.columns))} |"
    yield "|" + "|".join(["---", *["---:"] * (len(table.columns) - 1)]) + "|"
    for row in table.rows:
        yield f"| {' | '.join(map(escaped, row))} |"


def _block(block: Block, plots: str) -> Iterator[str]:
    if isinstance(block, Table):
        yield from (f"{escaped(block.caption)}:", "", *table_lines(block))
    elif isinstance(block, Picture):
        yield from (f"![{escaped(block.caption)}]({plots}/{block.name}.png)", "", *table_lines(block.table))
    elif isinstance(block, Lines):
        yield from (f"{escaped(block.title)}:", "")
        yield from (f"- {line.sign} {escaped(line.text)}" for line in block.lines)
    elif isinstance(block, Code):
        text = visible(block.text).strip("\n")
        longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        yield from (fence, text, fence)
