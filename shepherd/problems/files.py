"""Rows of a problem file with their numbers: JSON lines, one JSON list, Parquet; and the file of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shepherd.errors import ShepherdError, at
from shepherd.files import STDIN, read_jsonl

_NAMES = ("{split}.jsonl", "{split}.jsonl.gz", "{split}.jsonl.xz", "{split}.json", "{split}.parquet",
          "{split}-*.parquet", "main/{split}-*.parquet", "data/{split}-*.parquet")  # fmt: skip


def find_file(source: str, split: str) -> Path:
    """The file of a split: ``source`` itself, or in a folder ``<split>.jsonl``, ``.json`` or ``.parquet``.

    Raises:
        ShepherdError: where there is no such file or folder, or the folder has no file of that split.
    """
    path = Path(source)
    if path.is_file() or source == STDIN:
        return path
    if not path.is_dir():
        raise ShepherdError(
            f"{source}: no such file or folder; give a file of problems, a folder with {split}.jsonl, "
            "gsm8k or embedded"
        )
    for pattern in _NAMES:
        found = sorted(path.glob(pattern.format(split=split)))
        if len(found) > 1:
            raise ShepherdError(f"{path}: the split {split} is cut into {len(found)} files; give one of them")
        if found:
            return found[0]
    raise ShepherdError(
        f"{path}: no {split} split; a folder of problems has {split}.jsonl, {split}.json or {split}.parquet"
    )


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row with its 1-based line (of a Parquet file: its row).

    Raises:
        ShepherdError: with file and line.
    """
    if path.suffix == ".parquet":
        yield from read_parquet(path)
    elif str(path) != STDIN and _is_list(path):
        yield from _read_list(path)
    else:
        yield from read_jsonl(path)


def read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file with their 1-based numbers; only a batch of them is in memory."""
    import pyarrow
    import pyarrow.parquet as parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise ShepherdError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def _is_list(path: Path) -> bool:
    if path.suffix in {".gz", ".xz"} or not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _read_list(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of one JSON list, each with the line it begins on."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShepherdError(f"{path}: not UTF-8 text (byte {error.start})") from error
    decoder = json.JSONDecoder()
    place, line, counted = text.index("[") + 1, 1, 0
    while True:
        place = _skip(text, place)
        line, counted = line + text.count("\n", counted, place), place
        if text.startswith("]", place):
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise at(path, error.lineno, f"broken JSON: {error.msg} (column {error.colno})") from error
        except RecursionError as error:
            raise at(path, line, "JSON that cannot be read: nested too deep") from error
        if not isinstance(value, dict):
            raise at(path, line, f"expected a JSON object in the list, found {value!r:.40}")
        yield line, value
        place = _skip(text, place)
        if text.startswith(",", place):
            place += 1
        elif not text.startswith("]", place):
            where = line + text.count("\n", counted, place)
            raise at(path, where, "broken JSON: expected a comma or ] after an object")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place
