"""JSON and JSON lines: read with a name for every fault, written whole or not at all.

Left out on purpose: locking (a run directory belongs to one process) and any format but JSON lines.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from shepherd.atomic import atomic_directory, atomic_write, is_disk_full, write_error
from shepherd.errors import ShepherdError, at

__all__ = [
    "SCHEMA_VERSION",
    "STDIN",
    "append_line",
    "atomic_directory",
    "atomic_write",
    "dump_line",
    "is_disk_full",
    "iter_finished",
    "open_to_append",
    "read_finished",
    "read_json",
    "read_jsonl",
    "sha256_file",
    "write_error",
    "write_json",
    "write_jsonl",
]

SCHEMA_VERSION = 1
"""Version of every file this package writes; a newer one is refused by name."""

STDIN = "-"


def dump_line(row: Mapping[str, Any]) -> str:
    """One JSON object as one line, without its line end; ``schema_version`` comes first.

    Raises:
        ValueError: for a NaN or an infinity, which JSON does not have.

    Example:
        >>> dump_line({"id": "p1", "note": "5 €"})
        '{"schema_version": 1, "id": "p1", "note": "5 €"}'
    """
    row = {"schema_version": SCHEMA_VERSION, **row}
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can carry
        line = json.dumps(row, allow_nan=False)
    return line


@contextmanager
def open_to_append(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a file for lines (``append_line``), as UTF-8; it and its folder are made where they are not there.

    Raises:
        ShepherdError: where the disk refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a", encoding="utf-8", newline="\n")
    except OSError as error:
        raise write_error(path, error) or error from error
    with handle:
        yield handle


def append_line(handle: IO[str], row: Mapping[str, Any]) -> None:
    """Append one row to an open text file and flush it, so that a killed run keeps what was finished."""
    try:
        handle.write(dump_line(row) + "\n")
        handle.flush()
    except OSError as error:
        with suppress(OSError):
            handle.close()  # what is still buffered would raise again at the end of the caller's block
        raise write_error(handle.name, error) or error from error


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows whole or not at all; ``.gz`` and ``.xz`` are compressed, to the same bytes every time."""
    path = Path(path)
    with atomic_write(path, "wb") as raw, _compressed(raw, path) as stream:
        for row in rows:
            stream.write(dump_line(row).encode() + b"\n")


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream in all but name
    elif path.suffix == ".xz":
        with lzma.LZMAFile(raw, "wb", preset=6) as xz:
            yield xz
    else:
        yield raw


def write_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write one JSON object, indented, whole or not at all; ``schema_version`` comes first."""
    with atomic_write(path) as handle:
        json.dump({"schema_version": SCHEMA_VERSION, **value}, handle, indent=2, allow_nan=False)
        handle.write("\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one JSON object; a fault names the file, and the line where the JSON breaks."""
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ShepherdError(f"{path}: {_why(error)}") from error
    except UnicodeDecodeError as error:
        raise ShepherdError(f"{path}: not UTF-8 text (byte {error.start})") from error
    return _parse_object(text, path, 1)


def read_jsonl(
    path: str | os.PathLike[str],
    on_bytes: Callable[[int], None] | None = None,
    max_line_bytes: int | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a JSON lines file with its 1-based line number.

    Blank lines are skipped. ``.gz`` and ``.xz`` are read by their suffix; ``-`` is standard input.
    ``on_bytes`` is told the length of each line, unpacked.
    A line of more than ``max_line_bytes`` is refused before all of it is read.

    Raises:
        ShepherdError: naming file and line, for what is not UTF-8, not JSON, not an object, cut short, or
            written by a newer version of this package.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    line = 0
    try:
        with _open_bytes(path) as stream:
            for line, raw in enumerate(_lines(stream, max_line_bytes), start=1):
                if on_bytes is not None:
                    on_bytes(len(raw))
                if max_line_bytes is not None and len(raw) > max_line_bytes:
                    raise at(
                        name, line, f"a line of more than {max_line_bytes:,} bytes; this is no such file"
                    )
                if line == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if not raw.strip():
                    continue
                try:
                    text = raw.decode()
                except UnicodeDecodeError as error:
                    raise at(name, line, f"not UTF-8 text (byte {error.start + 1} of the line)") from error
                yield line, _parse_object(text.rstrip(), name, line)  # its line end is no second line
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise at(name, line + 1, f"the compressed file is damaged or cut short ({error})") from error
    except OSError as error:
        raise ShepherdError(f"{name}: {_why(error)}") from error


def _lines(stream: IO[bytes], most: int | None) -> Iterator[bytes]:
    """Lines of a stream, none read further than one byte beyond ``most``."""
    return iter(stream) if most is None else iter(lambda: stream.readline(most + 1), b"")


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def _open_bytes(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Lines of bytes: a text mode would split at more than the line feed."""
    if str(path) == STDIN:
        yield _stdin_bytes(sys.stdin)
    elif str(path).endswith(".gz"):
        with gzip.open(path, "rb") as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream in all but name
    elif str(path).endswith(".xz"):
        with lzma.open(path, "rb") as stream:
            yield stream
    else:
        with Path(path).open("rb") as stream:
            yield stream


def _stdin_bytes(stdin: TextIO) -> IO[bytes]:
    """Standard input as bytes, also where a test has put text in its place."""
    buffer: IO[bytes] | None = getattr(stdin, "buffer", None)
    return buffer if buffer is not None else io.BytesIO(stdin.read().encode())


def _parse_object(text: str, name: str | os.PathLike[str], line: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        # A file of one object has its own lines; a row has only one.
        raise at(name, line + error.lineno - 1, f"broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        what = str(error).partition(";")[0]  # behind it, of a number, advice to whoever writes Python
        raise at(name, line, f"JSON that cannot be read: {what}") from error
    if not isinstance(value, dict):
        raise at(name, line, f"expected a JSON object, found {_kind(value)}")
    version = value.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, bool) or not isinstance(version, int):
        raise at(name, line, f"schema_version must be a whole number, found {json.dumps(version)}")
    if version > SCHEMA_VERSION:
        raise at(
            name,
            line,
            f"schema_version {version} is newer than the {SCHEMA_VERSION} this program reads; "
            "upgrade with: pip install -U shepherd-prm",
        )
    return value


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def iter_finished(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of this package's own append-only file after a kill; an unfinished one is cut off it.

    A row is finished when its line end was written. A file that is not there has no rows.

    Raises:
        ShepherdError: if a finished line is broken, which no kill explains; where the disk refuses.
    """
    path = Path(path)
    if not path.exists():
        return
    try:
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            whole = _end_of_last_line(handle, size)
        if whole < size:
            with path.open("r+b") as handle:
                handle.truncate(whole)
                os.fsync(handle.fileno())
    except OSError as error:
        raise write_error(path, error) or error from error
    for _, row in read_jsonl(path):
        yield row


def read_finished(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All rows of this package's own append-only file (see ``iter_finished``)."""
    return list(iter_finished(path))


def _end_of_last_line(handle: IO[bytes], size: int, block: int = 1 << 16) -> int:
    """How many bytes of a file end with a line end; read from behind, since a file may be large."""
    end = size
    while end > 0:
        start = max(0, end - block)
        handle.seek(start)
        found = handle.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
