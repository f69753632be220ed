"""Fields of the rows that people and models write: what is text, and what is a number."""

from __future__ import annotations

import sys

from shepherd.errors import at


def is_finite(value: object) -> bool:
    """Is it a number that a float can hold, and neither NaN nor infinite? True and false are none.

    Example:
        >>> is_finite(0.5), is_finite(True), is_finite(float("nan")), is_finite(10**400), is_finite("1")
        (True, False, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def text_of(value: object, field: str, where: str, line: int) -> str:
    """A string that UTF-8 can carry: half surrogates, which JSON can hold, become U+FFFD.

    Raises:
        ShepherdError: with file, line and field, if it is no text.
    """
    if not isinstance(value, str):
        raise at(where, line, f'"{field}" must be text, found {value!r:.40}')
    if value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
