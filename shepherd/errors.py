"""The one exception for what a user can fix. Bugs keep their own exceptions and their traceback."""

from __future__ import annotations

from os import PathLike


class ShepherdError(Exception):
    """What a user can fix: "where: what was found; what to do". Printed without a traceback, exit code 1."""


def at(path: str | PathLike[str], line: int, message: str) -> ShepherdError:
    """An error that names the file and the 1-based line it was found in.

    Example:
        >>> at("pool.jsonl", 12, 'no "candidates" field')
        ShepherdError('pool.jsonl:12: no "candidates" field')
    """
    return ShepherdError(f"{path}:{line}: {message}")
