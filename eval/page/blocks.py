"""What a section of the report is made of; the page and the Markdown file are both written from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mark = Literal["better", "worse", "same", "alarm", "fine", "note"]

SIGNS: dict[Mark, str] = {"better": "▲", "worse": "▼", "same": "=", "alarm": "⚠", "fine": "✓", "note": "·"}
"""What a mark looks like: it is said by the sign and the words, never by colour alone."""


_VERDICTS: dict[str, Mark] = {"better": "better", "worse": "worse", "no difference": "same"}


def mark_of(verdict: str | None, ci95: Sequence[float] | None) -> Mark:
    """The mark of a difference: the verdict's, which has heard of other comparisons; else its interval's.

    Example:
        >>> mark_of("no difference shown; …", [0.01, 0.1]), mark_of(None, [0.01, 0.1])
        ('same', 'better')
    """
    for begin, mark in _VERDICTS.items():
        if verdict is not None and verdict.lower().startswith(begin):
            return mark
    if ci95 is None:
        return "note"
    return "better" if ci95[0] > 0 else "worse" if ci95[1] < 0 else "same"


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence with a mark."""

    mark: Mark
    text: str

    @property
    def sign(self) -> str:
        """What stands before the sentence."""
        return SIGNS[self.mark]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; the first cell of a row is its name.

    Attributes:
        caption: what it shows.
        columns: as many names as a row has cells.
        rows: the cells.
        keys: one a row where rows are lines of a picture that the page can hide.
        shown: the keys that are shown at first; all if it is empty.
        folded: whether the page shows it only when asked.
        sentences: whether the last column is of sentences, which may take more than one line.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    keys: Sequence[str] = ()
    shown: Sequence[str] = ()
    folded: bool = False
    sentences: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Sentences under a title."""

    title: str
    lines: Sequence[Line]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A text as it is: a command, a config."""

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot, and the table that says the same.

    Attributes:
        name: of its files, without a suffix.
        caption: what it shows.
        says: the picture in words, for who cannot see it.
        draw: draws it; matplotlib is imported there.
        table: its figures.
        switches: the lines that can be hidden, key and name, where the rows of the table are no lines.
    """

    name: str
    caption: str
    says: str
    draw: Callable[[], Figure]
    table: Table
    switches: Sequence[tuple[str, str]] = ()


Block = Table | Lines | Code | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """One run in the report.

    Attributes:
        key: its name in the page and in the names of its pictures, as ``run1``.
        title: what was measured.
        facts: a line of what and how many.
        verdicts: what it shows.
        blocks: results, in order.
        repeat: cost, and how to do it again.
    """

    key: str
    title: str
    facts: str
    verdicts: Sequence[Line]
    blocks: Sequence[Block]
    repeat: Sequence[Block]
