r"""Find the final answer of a solution, as an exact number; None where there is none, never a guess.

A style says which marker announces the answer, and which of several counts:

========  =====================================================  ==========================
style     marker                                                 which, and how it is read
========  =====================================================  ==========================
gsm8k     ``#### 72``                                            last; one number
boxed     ``\boxed{72}``, braces nested                          last; one number
shepherd  ``The answer is: 72`` (colon optional)                 last; one number
openai    ``A: 72``                                              last; one number
subq      ``Final answer: 72``                                   first; the line's first number
zeroeval  ``"answer": "72"``, JSON or nearly                     last; the value's first number
auto      gsm8k, boxed, ``Final answer:`` (first), shepherd,     the first style in this order
          ``A:`` on a line of its own, zeroeval                  that gives a number
gold      as auto, else the whole text (an answer field)         one number
========  =====================================================  ==========================

"One number" is ``parse_number``'s rule: what follows the marker on its line holds exactly one number, words
and units around it do not matter, and it is no part of a formula. ``subq`` and ``zeroeval`` take the first
number there is, because that is how the published figures of these two formats were computed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal, NamedTuple, TypeVar, get_args

from shepherd.numbers import MAX_LENGTH, first_number, parse_number

__all__ = [
    "GRADER_TIMEOUT_S",
    "POOL_FORMATS",
    "STYLES",
    "Answer",
    "AnswerStyle",
    "Grader",
    "PoolFormat",
    "Statement",
    "boxed_text",
    "extract",
    "extract_text",
    "parse_number",
    "statements",
    "style_of",
]

Answer = Fraction
"""A final answer: exact, so that 0.5 and 1/2 are equal and 0.333 and 1/3 are not."""

Grader = Literal["auto", "exact", "math-verify"]
"""How answers are compared: exact numbers, math-verify, or (``auto``) by what the gold answer is."""

GRADER_TIMEOUT_S = 5.0
"""Seconds that math-verify is given for one pair of answers."""

AnswerStyle = Literal["auto", "gsm8k", "boxed", "shepherd", "openai", "subq", "zeroeval", "gold"]
T = TypeVar("T")
_Reader = Callable[[str], T | None]

STYLES: tuple[AnswerStyle, ...] = get_args(AnswerStyle)

PoolFormat = Literal["shepherd", "subq", "zeroeval", "openai-samples"]
POOL_FORMATS: tuple[PoolFormat, ...] = get_args(PoolFormat)

_STYLE_OF_FORMAT: dict[PoolFormat, AnswerStyle] = {
    "shepherd": "auto",
    "subq": "subq",
    "zeroeval": "zeroeval",
    "openai-samples": "openai",
}

# Every pattern begins with a fixed word and has no nested repetition: time is linear in the text.
_GSM8K = re.compile(r"####")
_SHEPHERD = re.compile(r"\bthe\s+(?:final\s+|correct\s+)?answer\s+is\b\s*:?", re.IGNORECASE)
_OPENAI = re.compile(r"(?<!\S)A:")
_OPENAI_LINE = re.compile(r"^[ \t]*A:", re.MULTILINE)
_FINAL = re.compile(r"\bfinal\s+answer[ \t*_]*:[*_]*", re.IGNORECASE)
_JSON_KEY = re.compile(r"\banswer[\\\"'*`]{0,6}[ \t]*:[*_]*", re.IGNORECASE)
_JSON_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is no brace
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_DIGITS = re.compile(r"\d[\d.,/%$}\])*\"'°]*")
_BLANK = re.compile(r"\s")

_AUTO_MARKERS = (_GSM8K, _BOX, _FINAL, _SHEPHERD, _OPENAI_LINE, _JSON_KEY)
_MARKERS: dict[AnswerStyle, tuple[re.Pattern[str], ...]] = {
    "gsm8k": (_GSM8K,),
    "boxed": (_BOX,),
    "shepherd": (_SHEPHERD,),
    "openai": (_OPENAI,),
    "subq": (_FINAL,),
    "zeroeval": (_JSON_KEY,),
    "auto": _AUTO_MARKERS,
    "gold": _AUTO_MARKERS,
}


def style_of(asked: AnswerStyle, pool_format: PoolFormat | None) -> AnswerStyle:
    """The style asked for; where that is ``auto``, the one that the pool's format is known to have.

    Args:
        asked: as a config has it.
        pool_format: of the file the candidates were read from; None where they were sampled.

    Example:
        >>> style_of("auto", "subq"), style_of("boxed", "subq"), style_of("auto", None)
        ('subq', 'boxed', 'auto')
    """
    return _STYLE_OF_FORMAT[pool_format] if asked == "auto" and pool_format is not None else asked


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
        marked = extract(text, "auto")
        return marked if marked is not None else parse_number(text)
    if style == "auto":
        return next((found for read in _AUTO if (found := read(text)) is not None), None)
    return _READERS[style](text)


def extract_text(text: str, style: AnswerStyle = "auto") -> str | None:
    r"""What a solution gives as its final answer, as text: for answers that are no numbers.

    The same markers as `extract`. Dollar signs around it and a full stop after it are taken off.

    Returns:
        The text, or None where the marker is absent, nothing follows it, or what follows is longer than
        `MAX_LENGTH` characters: no final answer is.

    Example:
        >>> extract_text(r"so it is $\boxed{3\pi}$.")
        '3\\pi'
        >>> extract_text("The answer is: $x^2 + 1$.")
        'x^2 + 1'
        >>> extract_text("She pays 72 dollars.") is None
        True
    """
    if style == "gold":
        marked = extract_text(text, "auto")
        return marked if marked is not None else _whole(text)
    if style == "auto":
        return next((found for read in _AUTO_TEXTS if (found := read(text)) is not None), None)
    return _TEXTS[style](text)


class Statement(NamedTuple):
    """Where a text states an answer: from its marker to the end of the line that holds the answer.

    Attributes:
        start: of the marker.
        value: end of what is stated: the closing brace of a box, else the first number (or word, where there
            is none) after the marker; units are no part of it.
        end: of the line.
    """

    start: int
    value: int
    end: int


def statements(text: str, style: AnswerStyle = "auto") -> list[Statement]:
    """Every place where a solution states an answer, in order; two on one line are one.

    What `extract` reads is one of them. A marker that nothing follows states nothing.

    Args:
        text: the solution, of any length and content.
        style: which markers count; those of all styles in ``auto``.

    Example:
        >>> text = "so 3 * 24 = 72. The answer is: 72 dollars. Thank you!"
        >>> [(text[each.start : each.value], text[each.value : each.end]) for each in statements(text)]
        [('The answer is: 72', ' dollars. Thank you!')]
    """
    markers = [
        (*found.span(), pattern is _BOX) for pattern in _MARKERS[style] for found in pattern.finditer(text)
    ]
    found: list[Statement] = []
    looked_at = -1  # up to here the lines are known: no line is looked at twice
    for start, stop, boxed in sorted(markers):
        if start < looked_at:
            continue
        begin = _skip_space(text, max(stop, looked_at))
        if begin == len(text):
            break
        end = text.find("\n", begin)
        looked_at = end if end >= 0 else len(text)
        found.append(Statement(start, _value_end(text, begin, looked_at, boxed), looked_at))
    return found


def _value_end(text: str, start: int, end: int, boxed: bool) -> int:
    """Where what is stated between the two places ends."""
    depth = 0
    for brace in _BRACE.finditer(text, start, min(end, start + MAX_LENGTH)) if boxed else ():
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.end()
    number = _DIGITS.search(text, start, end)
    if number is not None:
        return number.end()
    blank = _BLANK.search(text, start, end)
    return end if blank is None else blank.start()


def boxed_text(text: str) -> str | None:
    r"""What the last ``\boxed{}`` of a text holds.

    Example:
        >>> boxed_text(r"\boxed{1}, no: \boxed{\frac{1}{2}}")
        '\\frac{1}{2}'
    """
    return _boxed(_whole)(text)


def _whole(text: str) -> str | None:
    """A text as it stands, without what only surrounds it."""
    text = text.strip().removesuffix(".").strip()
    if len(text) > 1 and text[0] == text[-1] == "$":
        text = text.strip("$").strip()
    return text if 0 < len(text) <= MAX_LENGTH else None


def _marker(pattern: re.Pattern[str], which: Literal["first", "last"], read: _Reader[T]) -> _Reader[T]:
    """A reader of what follows a marker: the rest of its line, else the next line that is not blank."""

    def read_after(text: str) -> T | None:
        end = _end_of(pattern, text, which)
        if end is None:
            return None
        rest = _line_at(text, end)
        if not rest.strip(" \t\r*_:"):
            rest = _line_at(text, _skip_space(text, end + len(rest)))
        return read(rest)

    return read_after


def _end_of(pattern: re.Pattern[str], text: str, which: Literal["first", "last"]) -> int | None:
    """Where the first or the last match ends."""
    ends = (found.end() for found in pattern.finditer(text))
    return next(ends, None) if which == "first" else max(ends, default=None)


def _line_at(text: str, start: int) -> str:
    stop = text.find("\n", start)
    return text[start:] if stop < 0 else text[start:stop]


def _skip_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _boxed(read: _Reader[T]) -> _Reader[T]:
    """A reader of what the last box holds; a box that is never closed was cut off and holds nothing."""

    def read_box(text: str) -> T | None:
        start = _end_of(_BOX, text, "last")
        if start is None:
            return None
        start = _skip_space(text, start)
        if not text.startswith("{", start):
            return read(_line_at(text, start).partition("$")[0])  # TeX allows \boxed 7
        depth = 0
        for brace in _BRACE.finditer(text, start, start + MAX_LENGTH):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                return read(text[start + 1 : brace.start()])
        return None

    return read_box


def _json_value(read: _Reader[T]) -> _Reader[T]:
    """A reader of the last ``answer`` key's value, whether or not the JSON around it is sound.

    A string counts up to its closing quote. One that is never closed (a lost quote) counts up to the end of
    its line, but not if the text ends there, since then the number itself may be cut.
    """

    def read_value(text: str) -> T | None:
        end = _end_of(_JSON_KEY, text, "last")
        if end is None:
            return None
        start = _skip_space(text, end)
        string = _JSON_STRING.match(text, start)
        if string:
            return read(_unescape(string[1]))
        rest = _line_at(text, start)
        if rest.startswith('"') and start + len(rest) == len(text):
            return None
        return read(rest.replace('\\"', " ").replace('"', " ").rstrip(" \t\r,}"))

    return read_value


def _unescape(inside: str) -> str:
    try:
        return str(json.loads(f'"{inside}"', strict=False))
    except ValueError:
        return inside


_UNKNOWN = re.compile(r"\s*\$?[A-Za-z]\s*=")


def _first_number_unless_unknown(text: str) -> Fraction | None:
    """The first number of a line; ``x = 12`` states an equation in an unknown and not the answer."""
    return None if _UNKNOWN.match(text) else first_number(text)


_READERS: dict[str, _Reader[Fraction]] = {
    "gsm8k": _marker(_GSM8K, "last", parse_number),
    "boxed": _boxed(parse_number),
    "shepherd": _marker(_SHEPHERD, "last", parse_number),
    "openai": _marker(_OPENAI, "last", parse_number),
    "subq": _marker(_FINAL, "first", _first_number_unless_unknown),
    "zeroeval": _json_value(first_number),
}

_AUTO = (
    _READERS["gsm8k"],
    _READERS["boxed"],
    _marker(_FINAL, "first", parse_number),
    _READERS["shepherd"],
    _marker(_OPENAI_LINE, "last", parse_number),
    _json_value(parse_number),
)

_TEXTS: dict[str, _Reader[str]] = {
    "gsm8k": _marker(_GSM8K, "last", _whole),
    "boxed": boxed_text,
    "shepherd": _marker(_SHEPHERD, "last", _whole),
    "openai": _marker(_OPENAI, "last", _whole),
    "subq": _marker(_FINAL, "first", _whole),
    "zeroeval": _json_value(_whole),
}

_AUTO_TEXTS = (
    _TEXTS["gsm8k"],
    _TEXTS["boxed"],
    _TEXTS["subq"],
    _TEXTS["shepherd"],
    _marker(_OPENAI_LINE, "last", _whole),
    _TEXTS["zeroeval"],
)
