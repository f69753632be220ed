r"""Read the one number of a short text as an exact rational, or say that there is not one.

Read: signs (also Unicode's), digits of any script, thousands separators (commas, no-break and thin blanks),
decimals, fractions (``3/4``, ``\frac{3}{4}``, ``½``), mixed numbers (``2 1/2``), powers of ten (``1e5``,
``5 million``). Without effect: currency, units, percent signs (``50%`` is 50), words, brackets, Markdown, TeX
dress, a full stop. After ``=`` only the right side counts. Not read, since it would be a guess: several
numbers, formulas, variables, ranges, clock times, malformed numbers (``1,23``), a sentence that says there is
no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

MAX_LENGTH = 10_000
"""Characters of a text that are looked at; a longer line is a model that loops, not an answer."""

MAX_DIGITS = 1000
"""Digits of the longest number that is read, for the same reason."""

_MAX_EXPONENT = 300


def parse_number(text: str) -> Fraction | None:
    r"""Read a text that holds exactly one number.

    Returns:
        The exact value, or None (also for a text longer than ``MAX_LENGTH``); no text raises.

    Example:
        >>> parse_number("$1,234.50 in total."), parse_number("2 1/2 cups"), parse_number("−٧٢")
        (Fraction(2469, 2), Fraction(5, 2), Fraction(-72, 1))
        >>> parse_number("5 + 3 = 8"), parse_number("50%")
        (Fraction(8, 1), Fraction(50, 1))
        >>> parse_number("x + 8"), parse_number("2 or 3"), parse_number("seven")
        (None, None, None)
    """
    text = _without_marks(text)
    if len(text) > MAX_LENGTH:
        return None
    text = _plain(text)
    text = text[max(text.rfind("="), text.rfind("≈")) + 1 :]
    found = _numbers(text)
    number = next(found, None)
    if number is None or next(found, None) is not None:
        return None
    # What is left, with one # for the number, tells whether it stands there as an answer.
    rest = text[: number.start].replace("#", " ") + "#" + text[number.end :].replace("#", " ")
    if number.value is None or _FORMULA.search(rest) or _SAYS_NONE.search(rest):
        return None
    return number.value


def first_number(text: str) -> Fraction | None:
    """Read the first number of a text, whatever else is there; None if it is malformed.

    Example:
        >>> first_number("5 apples and 3 pears"), first_number("none")
        (Fraction(5, 1), None)
    """
    found = next(_numbers(_plain(_without_marks(text)[:MAX_LENGTH]), in_names=True), None)
    return None if found is None else found.value


# --- Unicode, TeX and Markdown to plain text -------------------------------------------------------------

_BLANK = "\u00a0"  # stands for every blank that may separate thousands

_WIDE = "\uff0e\uff0c\u3002\uff05\uff1d\uff0b\uff0f\uff1a\uff08\uff09"  # full-width . , . % = + / : ( )
_FOLDED = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2007\u2009\u202f", _BLANK),
    **dict(zip(_WIDE + "\u2044\u2215\u066a\u066b\u066c\u2019", ".,.%=+/:()//%.,'", strict=True)),
}


class _Fold(dict[int, str]):
    """A table for ``str.translate`` that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold(chr(code))
        return folded


def _fold(character: str) -> str:
    if character in _FOLDED:
        return _FOLDED[character]
    match unicodedata.category(character):
        case "Nd":
            return str(unicodedata.decimal(character))
        case "Sc":
            return "$"
        case "Cf" | "Cs":  # direction marks stand around numbers; half surrogates are noise
            return ""
        case "No" if unicodedata.decomposition(character).startswith("<fraction>"):
            return " " + unicodedata.normalize("NFKD", character).replace("\u2044", "/")  # 2½ is 2 1/2
    return character


_FOLD = _Fold()

# Each is linear: a repetition is ended by a character that it cannot hold itself.
_MARKS = re.compile(r"<<[^<>]*>>|<[/|A-Za-z][^<>]*>")  # <<3*24=72>>, </s>, <|eot_id|>
_TEX = [
    (re.compile(r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r" \1/\2"),
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree\b"), "°"),
    (
        re.compile(
            r"\\(?:text|mathrm|mathbf|mathit|boldsymbol|mbox|emph|underline|operatorname)[a-z]{0,2}\s*\{"
        ),
        " {",
    ),
    (re.compile(r"\\(?:boxed|fbox)\b|\\(?:left|right|displaystyle|quad|qquad)\b|\\n(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:approx|simeq)\b"), "≈"),
    (re.compile(r"\\times\b"), "×"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\[,;: ]"), _BLANK),
    (re.compile(r"\\([$%#&*_\"])"), r"\1"),
    (re.compile(r"\\[()\[\]\\]"), " "),
]
_POWER_OF_TEN = re.compile(r"(?<=\d)[ ]?[×*][ ]?10\^\{?(-?\d{1,3})\}?")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z])\}?\^\{?[23]\}?")
_SIGNED_CURRENCY = re.compile(r"-[ ]?\$[ ]?")
_DRESS = re.compile(r"\*\*|__|[`${}\"]")
_AND_A_FRACTION = re.compile(r"(?<=\d) and (?=\d+/\d)")


def _without_marks(text: str) -> str:
    """Take out what is no part of the sentence: calculators, ends of text, any number of them."""
    return _MARKS.sub(" ", text).strip() if "<" in text else text


def _plain(text: str) -> str:
    """Take off what has no effect on the number."""
    if not text.isascii():
        text = text.translate(_FOLD)
    if "\\" in text:
        for pattern, plain in _TEX:
            text = pattern.sub(plain, text)
    if "^" in text:
        text = _UNIT_POWER.sub("", _POWER_OF_TEN.sub(r"e\1", text))
    text = _DRESS.sub(" ", _SIGNED_CURRENCY.sub("-", text))
    return _AND_A_FRACTION.sub(" ", text).strip(" \t\r\n*_")


# --- Numbers in plain text -------------------------------------------------------------------------------


class _Number(NamedTuple):
    """A number and where it stands, sign and scale word included; value None where nobody can read it."""

    start: int
    end: int
    value: Fraction | None


_RUN = re.compile(
    r"(?:\d|(?<![\w.])\.\d)(?:[\d.,]|\xa0(?=\d{3}(?!\d)))*(?:(?<=[\d.])[eE][-+]?\d{1,4}(?![\w.]))?"
)
_FRACTION_BAR = re.compile(r"[ ]?/[ ]?(?=\d)")
_PLAIN = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_GROUPED = re.compile(r"[1-9]\d{0,2}([,\xa0])\d{3}(?:\1\d{3})*(?:\.\d*)?")
_SIGN = re.compile(r"([-+]|\b(?:minus|negative)\b)\s*\Z", re.IGNORECASE)
_SCALE = re.compile(r"\s?(hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def _numbers(text: str, in_names: bool = False) -> Iterator[_Number]:
    """Yield the numbers of a plain text.

    Args:
        text: What ``_plain`` gave.
        in_names: Read runs of digits as they come, also within names (``x2``), without fractions and scales.
    """
    end = 0
    while run := _RUN.search(text, end):
        start, stop = run.start(), _trimmed_end(run)
        value = _value(text[start:stop])
        before, end = text[end:start], stop
        if not in_names:
            if start and (text[start - 1].isalpha() or text[start - 1] == "_"):
                continue
            value, end = _with_fraction(text, value, start, stop)
            if value is not None and (scale := _SCALE.match(text, end)):
                value, end = value * _SCALES[scale[1].lower()], scale.end()
        sign, width = _sign(before, opens=len(before) == start)
        yield _Number(start - width, end, None if value is None else sign * value)


def _trimmed_end(run: re.Match[str]) -> int:
    """Where a run ends without the punctuation of its sentence."""
    return run.start() + len(run[0].rstrip(".,\xa0"))


def _value(run: str) -> Fraction | None:
    """The value of digits with their separators; None where they are malformed or far too many."""
    digits, _, exponent = run.replace("E", "e").partition("e")
    if len(digits) > MAX_DIGITS or (exponent and abs(int(exponent)) > _MAX_EXPONENT):
        return None
    if not _PLAIN.fullmatch(digits):
        if not _GROUPED.fullmatch(digits):
            return None
        digits = digits.replace(",", "").replace(_BLANK, "")
    whole, _, decimals = digits.partition(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    return value * Fraction(10) ** int(exponent) if exponent else value


def _with_fraction(text: str, value: Fraction | None, start: int, stop: int) -> tuple[Fraction | None, int]:
    """Go on over ``/4`` after a 3, or over `` 1/2`` after a whole 2."""
    if bar := _FRACTION_BAR.match(text, stop):
        below = _RUN.match(text, bar.end())
        assert below is not None  # the bar is followed by a digit
        end = _trimmed_end(below)
        bottom = _value(text[bar.end() : end])
        if _FRACTION_BAR.match(text, end):  # a date, or worse
            return None, end
        return (value / bottom if value is not None and bottom else None), end
    part = re.compile(r"[ ]{1,2}(\d{1,9})/(\d{1,9})(?![\d./])").match(text, stop)
    if part and text[start:stop].isdigit() and value is not None and int(part[1]) < int(part[2]):
        return value + Fraction(int(part[1]), int(part[2])), part.end()
    return value, stop


def _sign(before: str, opens: bool) -> tuple[int, int]:
    """Sign of a number by what stands before it, and its width; a minus may be an operator too."""
    found = _SIGN.search(before)
    if found is None:
        return 1, 0
    left, width = before[: found.start()], len(before) - found.start()
    sign = 1 if found[1] == "+" else -1
    is_glued = found.end(1) == len(before)
    if not left.strip():
        is_sign = opens
    elif left[-1].isspace():
        is_sign = is_glued or len(found[1]) > 1
    else:
        is_sign = not (left[-1].isalnum() or left[-1] in ")]%-+")
    return (sign, width) if is_sign else (1, 0)


# Around the # of the number: an operator, a variable, a power, a slash that is not "per".
_FORMULA = re.compile(
    r"[+*^×÷·⋅√π∞<>±≤≥≠∑∫\\]"
    r"|[-/]\s*#|#\s+-|#\s*/(?!\s*[A-Za-z]+\s*(?:[,.;)]|\Z))"
    r"|#[abknxyzK](?![A-Za-z])|#[A-Za-z]+\d|#[²³¹⁰⁴-⁹]|\w\(#|#\("
    r"|#.*(?<![A-Za-z'])[nxyzXYZ](?![A-Za-z'])|(?<![A-Za-z'])[nxyzXYZ]\s*#",
    re.DOTALL,
)
_SAYS_NONE = re.compile(
    r"\b(?:not|cannot|can't|unknown|impossible|undefined|undetermined|insufficient)\b", re.IGNORECASE
)
