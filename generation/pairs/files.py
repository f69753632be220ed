"""Files of pairs: one JSON object a line, in TRL's preference shape, with where each pair comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable

from generation.pairs.pair import Pair
from shepherd.errors import ShepherdError
from shepherd.files import read_jsonl, write_jsonl


def write_pairs(path: str | os.PathLike[str], pairs: Iterable[Pair]) -> None:
    """Write pairs, whole or not at all."""
    write_jsonl(path, (pair.to_json() for pair in pairs))


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Read pairs: this package's own, or rows with TRL's ``prompt``, ``chosen`` and ``rejected`` alone.

    Raises:
        ShepherdError: with file and line, for what is no pair; with the file, if it has no lines.
    """
    pairs = [Pair.from_json(row, str(path), line) for line, row in read_jsonl(path)]
    if not pairs:
        raise ShepherdError(
            f"{path}: no lines; a file of pairs has one JSON object a line, with prompt, chosen and rejected"
        )
    return pairs
