"""Characters that could steer a page, a terminal or a reader's eye, as symbols that can be seen.

The page's script shows candidate texts by the same list (`script_pattern`). A carriage return before a line
feed is dropped, not shown.
"""

from __future__ import annotations

from shepherd.unseen import RANGES, UNSEEN


def visible(text: str) -> str:
    r"""A text whose control, direction and invisible characters are symbols; safe to print and to encode.

    Example:
        >>> visible("5\x1b[31m0 \u202e1\r\n")
        '5␛[31m0 ⟨U+202E⟩1\n'
    """
    return UNSEEN.sub(lambda found: symbol(found[0]), text.replace("\r\n", "\n"))


def symbol(character: str) -> str:
    r"""What stands for one character.

    Example:
        >>> symbol("\x00"), symbol("\x7f"), symbol("\u2066")
        ('␀', '␡', '⟨U+2066⟩')
    """
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def script_pattern() -> str:
    r"""The same characters as a JavaScript pattern (flag ``u``).

    Example:
        >>> script_pattern()[:12]
        '[\\u{0}-\\u{8}'
    """
    return "[" + "".join(rf"\u{{{low:x}}}-\u{{{high:x}}}" for low, high in RANGES) + "]"
