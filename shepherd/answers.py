r"""Find the final answer of a solution, as an exact number. None means that there is none; it is never guessed.

A style says which marker announces the answer, and which of several counts:

========  =====================================================  ==========================
style     marker                                                 which, and how it is read
========  =====================================================  ==========================
gsm8k     ``#### 72``                                            last; one number
boxed     ``\boxed{72}``, braces nested                          last; one number
shepherd  ``The answer is: 72`` (colon optional)                 last; one number
openai    ``A: 72``                                              last; one number
subq      ``Final answer: 72``                                   first; the line's first number
zeroeval  ``"answer": "72"``, JSON or nearly                     last; one number
auto      gsm8k, boxed, ``Final answer:`` (first), shepherd,     the first style in this order
          ``A:`` on a line of its own, zeroeval                  that gives a number
gold      the whole text if it is a number, else as auto         (answer field of a problem)
========  =====================================================  ==========================

"One number" is ``parse_number``'s rule: what follows the marker on its line holds exactly one number, words and
units around it do not matter, and it is no part of a formula. ``subq`` takes the line's first number, because that
is how the published figures of that format were computed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal, get_args

from shepherd.numbers import first_number, parse_number

__all__ = ["STYLES", "Answer", "AnswerStyle", "extract", "parse_number"]

Answer = Fraction
"""A final answer: exact, so that 0.5 and 1/2 are equal and 0.333 and 1/3 are not."""

AnswerStyle = Literal["auto", "gsm8k", "boxed", "shepherd", "openai", "subq", "zeroeval", "gold"]
STYLES: tuple[AnswerStyle, ...] = get_args(AnswerStyle)

# Every pattern is anchored at a fixed word and has no nested repetition: time stays linear on a line of megabytes.
_GSM8K = re.compile(r"####")
_SHEPHERD = re.compile(r"\bthe\s+(?:final\s+|correct\s+)?answer\s+is\b\s*:?", re.IGNORECASE)
_OPENAI = re.compile(r"(?<!\S)A:")
_OPENAI_LINE = re.compile(r"^[ \t]*A:", re.MULTILINE)
_FINAL = re.compile(r"\bfinal\s+answer[ \t*_]*:", re.IGNORECASE)
_JSON_KEY = re.compile(r"\banswer[\\\"'*`]{0,6}[ \t]*:", re.IGNORECASE)
_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BOX = re.compile(r"\\f?boxed?(?![A-Za-z])")


def extract(text: str, style: AnswerStyle = "auto") -> Fraction | None:
    r"""Read the final answer of a solution.

    Args:
        text: The solution, of any length and content.
        style: Which marker announces the answer (see the table above).

    Returns:
        The exact number, or None where the marker is absent or what follows it is not one number.

    Example:
        >>> extract("She pays 3 * 24 = 72 dollars.\n#### 72")
        Fraction(72, 1)
        >>> extract(r"so it is \boxed{\frac{3}{4}}", "boxed")
        Fraction(3, 4)
        >>> extract("She pays 72 dollars.") is None
        True
    """
    if style == "gold":
        plain = parse_number(text)
        return plain if plain is not None else extract(text, "auto")
    if style == "auto":
        return next((found for read in _AUTO if (found := read(text)) is not None), None)
    return _READERS[style](text)


def _after(marker: re.Pattern[str], which: Literal["first", "last"]) -> Callable[[str], str | None]:
    """A function that gives what follows the marker: the rest of its line, or the next line if that is blank."""

    def rest_of_line(text: str) -> str | None:
        found = None
        for found in marker.finditer(text):
            if which == "first":
                break
        if found is None:
            return None
        start = found.end()
        rest = _line_at(text, start)
        if rest.strip(" \t\r*_:"):
            return rest
        start += len(rest)
        while start < len(text) and text[start].isspace():
            start += 1
        return _line_at(text, start)

    return rest_of_line


def _line_at(text: str, start: int) -> str:
    stop = text.find("\n", start)
    return text[start:] if stop < 0 else text[start:stop]


def _one_number(
    marker: re.Pattern[str], which: Literal["first", "last"] = "last"
) -> Callable[[str], Fraction | None]:
    rest_of_line = _after(marker, which)

    def read(text: str) -> Fraction | None:
        rest = rest_of_line(text)
        return None if rest is None else parse_number(rest)

    return read


def _read_subq(text: str) -> Fraction | None:
    found = _FINAL.search(text)
    return None if found is None else first_number(_line_at(text, found.end()))


def _read_boxed(text: str) -> Fraction | None:
    """What the last box holds; a box that is never closed was cut off and holds nothing."""
    start = None
    for found in _BOX.finditer(text):
        start = found.end()
    if start is None:
        return None
    while start < len(text) and text[start] in " \t":
        start += 1
    if not text.startswith("{", start):
        return parse_number(_line_at(text, start).partition("$")[0])  # TeX allows \boxed 7
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 1  # an escaped brace is no brace
        elif text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return parse_number(text[start + 1 : place])
        place += 1
    return None


def _read_json(text: str) -> Fraction | None:
    """The value of the last ``answer`` key, whether or not the JSON around it is sound.

    A string counts up to its closing quote. One that is not closed on its line (a lost quote) counts up to the end
    of the line, but not if the text ends there, since then the number itself may be cut.
    """
    found = None
    for found in _JSON_KEY.finditer(text):
        pass
    if found is None:
        return None
    start = found.end()
    while start < len(text) and text[start].isspace():
        start += 1
    string = _JSON_STRING.match(text, start)
    if string:
        return parse_number(_unescape(string[1]))
    rest = _line_at(text, start)
    if rest.startswith('"') and start + len(rest) == len(text):
        return None
    return parse_number(rest.replace('\\"', " ").replace('"', " ").rstrip(" \t\r,}"))


def _unescape(inside: str) -> str:
    try:
        value = json.loads(f'"{inside}"', strict=False)
    except ValueError:
        value = inside
    return str(value).replace('"', " ")


_READERS: dict[str, Callable[[str], Fraction | None]] = {
    "gsm8k": _one_number(_GSM8K),
    "boxed": _read_boxed,
    "shepherd": _one_number(_SHEPHERD),
    "openai": _one_number(_OPENAI),
    "subq": _read_subq,
    "zeroeval": _read_json,
}

_AUTO = (
    _READERS["gsm8k"],
    _READERS["boxed"],
    _one_number(_FINAL, "first"),
    _READERS["shepherd"],
    _one_number(_OPENAI_LINE),
    _READERS["zeroeval"],
)
