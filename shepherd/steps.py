"""Split a solution into its steps and join it again, without loss; and the text that a verifier reads.

Three layouts are told apart, in this order:

- *tagged* (Math-Shepherd): the text holds the step tag. Every tag closes a step. Text after the last tag is
  one more, untagged step if it has content (a letter or a digit beside a header); a tag with nothing before
  it closes nothing, so writing tags makes no steps.
- *headed*: some line begins with ``Step i:`` or ``Step i -``, or is ``Step i`` alone above others (any case,
  Markdown marks around it allowed). Every such line opens a step; what stands before the first is a step of
  its own if it has content.
- *plain* (GSM8K): every line that is not blank is a step; a ``#### 72`` line belongs to the step before it.

How many steps a solution has is ``len(split(text).steps)`` everywhere: in scores, verifier and ruler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

TAG = "ки"
"""The step tag of Math-Shepherd (arXiv 2312.08935)."""

Layout = Literal["tagged", "headed", "plain"]

# Only blanks and tabs between the parts, never line ends: a match stays on its line. No repetition stands
# inside another, so that time stays linear: a ruled line of forty #, read the other way, would never end.
_HEADER = r"[ \t#>*_]*step[ \t]*\d+[ \t]*(?:[*_]+[ \t]*)?(?:[:.)]|[-–—](?=[ \t])|(?=[\r\n]))"
_HEADER_AT_START = re.compile(_HEADER, re.IGNORECASE)
_HEADER_LINE = re.compile(f"^{_HEADER}", re.IGNORECASE | re.MULTILINE)
_HAS_CONTENT = re.compile(r"[^\W_]")
_LINE_ENDS = re.compile(r"[ \t]*[\r\n]+\s*")


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution cut into steps and the gaps around them: ``gap step gap step … gap`` is the text.

    Attributes:
        steps: Texts of the steps: not empty, no whitespace around, no tag; a ``Step i:`` they had is kept.
        gaps: What stands before, between and after the steps (whitespace, tags); one more than ``steps``.
        layout: Which of the three layouts was found.
    """

    steps: tuple[str, ...]
    gaps: tuple[str, ...]
    layout: Layout

    def join(self) -> str:
        """Give back the text, character by character."""
        return self.gaps[0] + "".join(step + gap for step, gap in zip(self.steps, self.gaps[1:], strict=True))


def split(text: str, tag: str = TAG) -> Solution:
    r"""Cut a solution into its steps; ``split(text).join() == text`` for any text.

    Example:
        >>> split("Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 The answer is: 10 ки").steps
        ('Step 1: 2 + 3 = 5', 'Step 2: 5 * 2 = 10 The answer is: 10')
        >>> split("She has 2 + 3 = 5.\nTwice that is 10.\n#### 10").steps
        ('She has 2 + 3 = 5.', 'Twice that is 10.\n#### 10')
        >>> split("").steps
        ()
    """
    layout: Layout = "plain"
    if tag in text:
        layout, pieces = "tagged", _tagged_pieces(text, tag)
    elif _HEADER_LINE.search(text):
        layout, pieces = "headed", _headed_pieces(text)
    else:
        pieces = _plain_pieces(text)

    steps: list[str] = []
    gaps: list[str] = []
    end = 0
    for start, stop in pieces:
        piece = text[start:stop].lstrip()
        step = piece.rstrip()
        if step:
            start = stop - len(piece)
            gaps.append(text[end:start])
            steps.append(step)
            end = start + len(step)
    gaps.append(text[end:])
    return Solution(tuple(steps), tuple(gaps), layout)


def _tagged_pieces(text: str, tag: str) -> Iterator[tuple[int, int]]:
    start = 0
    while (stop := text.find(tag, start)) >= 0:
        yield start, stop
        start = stop + len(tag)
    if _has_content(text, start, len(text)):
        yield start, len(text)


def _headed_pieces(text: str) -> Iterator[tuple[int, int]]:
    starts = [header.start() for header in _HEADER_LINE.finditer(text)]
    if _has_content(text, 0, starts[0]):
        yield 0, starts[0]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


def _plain_pieces(text: str) -> Iterator[tuple[int, int]]:
    """Lines; a piece is held back until it is known that no ``####`` line follows it."""
    held: tuple[int, int] | None = None
    start = 0
    for line in text.split("\n"):
        stop = start + len(line)
        if line.strip():
            if held and line.lstrip().startswith("####"):
                held = (held[0], stop)
            else:
                if held:
                    yield held
                held = (start, stop)
        start = stop + 1
    if held:
        yield held


def _has_content(text: str, start: int, stop: int) -> bool:
    """Is there a letter or a digit between the two places, a header not counted?"""
    piece = text[start:stop].lstrip()
    header = _HEADER_AT_START.match(piece)
    return _HAS_CONTENT.search(piece, header.end() if header else 0) is not None


def render(steps: Sequence[str], tag: str = TAG) -> str:
    r"""Write steps as Math-Shepherd does: a header each, closed by the tag, a line each.

    A step that has a ``Step i:`` header keeps it, another gets its number. Line ends inside a step become one
    blank. The tag inside a step is removed, since it would count as one more step: a training row that holds
    it must be refused by whoever reads rows (see ``has_tag``).

    Example:
        >>> render(["2 + 3 = 5", "Step 2: 5 * 2 = 10"])
        'Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 ки'
    """
    return "\n".join(_render_step(number, step, tag) for number, step in enumerate(steps, start=1))


def _render_step(number: int, step: str, tag: str) -> str:
    while tag in step:  # taking one out can bring another together
        step = step.replace(tag, "")
    step = _LINE_ENDS.sub(" ", step.strip())
    if not _HEADER_AT_START.match(step):
        step = f"Step {number}: {step}".rstrip()
    return f"{step} {tag}"


def has_tag(steps: Sequence[str], tag: str = TAG) -> bool:
    """Does any step's own text hold the tag? Such a row has no clear labels.

    Example:
        >>> has_tag(["2 + 3 = 5", "so ки 5"])
        True
    """
    return any(tag in step for step in steps)


def prompt(question: str) -> str:
    """What a generator continues, and a verifier reads before the steps, as Math-Shepherd's ``input`` has it.

    Example:
        >>> prompt("How many? ") + render(["2 + 3 = 5"])
        'How many? Step 1: 2 + 3 = 5 ки'
    """
    return question.strip() + " "
