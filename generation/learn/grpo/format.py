"""How far a completion keeps the format that is asked for: for a reward, and for a sentinel."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shepherd.answers import AnswerStyle, extract_text, statements
from shepherd.steps import TAG, split

_NUMBER = re.compile(r"[ \t#>*_]*step[ \t]*(\d{1,6})(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_MOST_WORDS = 3
"""Words of a unit, as in "miles per hour"."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a completion has of the format ``Step 1: … Step 2: … The answer is: 12``.

    Attributes:
        steps: how many there are.
        numbered: share of the steps that begin with ``Step`` and the number that is theirs; 0 without steps.
        closed: share of the steps closed by the tag; 0 without steps.
        stated: how often an answer is stated.
        ended: the last stated answer is the end: nothing follows but a unit and the tag.
        characters: of the text, neither blanks nor tags counted.
        after: of those, the ones after the first stated answer; 0 where none is stated.
    """

    steps: int
    numbered: float
    closed: float
    stated: int
    ended: bool
    characters: int
    after: int

    def soft(self, *, tags: bool) -> float:
        """Share of what is asked, in [0, 1]: see `generation.learn.grpo.rewards.soft_format`."""
        answer = ((self.stated > 0) + (self.stated == 1) + (self.stated > 0 and self.ended)) / 3
        parts = [self.numbered, answer, *([self.closed] if tags else [])]
        return sum(parts) / len(parts)

    def is_off(self, *, tags: bool) -> bool:
        """Has it no steps, or are most of them not set off as asked: by the tag, else by their number?"""
        return (self.closed if tags else self.numbered) < 0.5


def read_format(text: str, style: AnswerStyle = "auto", tag: str = TAG) -> Format:
    r"""Look at the format of a completion, whatever it is; time is linear in its length.

    Args:
        text: the completion.
        style: how answers are stated.
        tag: closes a step.

    Example:
        >>> read_format("Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 The answer is: 10 ки")
        Format(steps=2, numbered=1.0, closed=1.0, stated=1, ended=True, characters=37, after=0)
        >>> read_format("Step 1: 2 + 3 = 5 The answer is: 5. Thank you so much, dear reader").after
        25
    """
    solution = split(text, tag)
    count = max(1, len(solution.steps))
    numbers = (_NUMBER.match(step) for step in solution.steps)
    numbered = sum(found is not None and int(found[1]) == i for i, found in enumerate(numbers, start=1))
    closed = sum(tag in gap for gap in solution.gaps[1:])
    stated = statements(text, style) if extract_text(text, style) is not None else []
    return Format(
        steps=len(solution.steps),
        numbered=numbered / count,
        closed=closed / count,
        stated=len(stated),
        ended=bool(stated) and _ends(text[stated[-1].value :], tag),
        characters=_characters(text, tag),
        after=_characters(text[stated[0].value :], tag) if stated else 0,
    )


def _ends(rest: str, tag: str) -> bool:
    """Is there nothing after an answer but a unit?"""
    unit, _, more = rest.replace(tag, "\n").lstrip(" \t").partition("\n")
    return _WORD.search(more) is None and sum(1 for _ in _WORD.finditer(unit)) <= _MOST_WORDS


def _characters(text: str, tag: str) -> int:
    return sum(map(len, text.replace(tag, "").split()))
