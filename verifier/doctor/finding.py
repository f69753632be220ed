"""What a check found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "note", "fail"]


class Finding(NamedTuple):
    """One line of the doctor's table.

    Attributes:
        name: what was looked at.
        state: ``fail`` makes the command fail.
        found: what is there.
        fix: what to do; every failure has one.
    """

    name: str
    state: State
    found: str
    fix: str = ""
