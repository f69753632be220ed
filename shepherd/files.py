"""Files that appear whole or not at all, and JSON lines read with a name for every fault.

Left out on purpose: locking (a run directory belongs to one process) and any format but JSON lines.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from shepherd.errors import ShepherdError, at

SCHEMA_VERSION = 1
"""Version of every file this package writes; a newer one is refused by name."""

STDIN = "-"

# Libraries that write through their own code report a full disk as text, not as an OSError.
_SAYS_FULL = re.compile(r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = _FULL | {errno.EIO, errno.EROFS}


def is_disk_full(error: BaseException) -> bool:
    """Was there no room left to write, whoever says so?

    Example:
        >>> is_disk_full(OSError(28, "No space left on device")), is_disk_full(KeyError("a bug"))
        (True, False)
    """
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, Exception) and _SAYS_FULL.search(str(error)) is not None


def write_error(path: str | os.PathLike[str], error: BaseException) -> ShepherdError | None:
    """Say in one line why ``path`` could not be written; None if ``error`` is about something else.

    Example:
        >>> print(write_error("pool.jsonl", OSError(28, "No space left on device")))
        pool.jsonl: No space left on device; nothing finished was lost, free some space and run again
        >>> write_error("pool.jsonl", KeyError("a bug"))
    """
    what = "No space left on device"
    if isinstance(error, OSError):
        if error.errno is None or not _is_about(path, error):
            return None
        what = os.strerror(error.errno)
    elif not is_disk_full(error):
        return None
    remedy = "nothing finished was lost, free some space and run again"
    return ShepherdError(
        f"{path}: {what}; {remedy if is_disk_full(error) else 'choose another place to write to'}"
    )


def _is_about(path: str | os.PathLike[str], error: OSError) -> bool:
    """Is it this file, one that it is made from, or a folder above it that could not be written?"""
    if error.filename is None:  # a write to an open file does not say which
        return error.errno in _REFUSED
    return str(error.filename).startswith(str(path)) or str(path).startswith(str(error.filename))


def _sync_directory(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into the one line of ``write_error``; anything else passes as it is."""
    try:
        yield
    except Exception as error:
        reported = write_error(path, error)
        if reported is None:
            raise
        raise reported from error


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when the block ends without an exception.

    Args:
        path: Where the file shall stand; its folder is made. An old file stays until the new one is whole.
        mode: ``"w"`` for UTF-8 text with Unix line ends, ``"wb"`` for bytes.

    Raises:
        ShepherdError: where the disk refuses (full, read-only, no permission); nothing is left behind.
    """
    if mode not in {"w", "wb"}:
        raise ValueError(f'mode must be "w" or "wb", not {mode!r}')
    path = Path(path)
    with _reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
        aside = Path(name)
        handle = _open_descriptor(descriptor, mode)
        try:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            handle.close()
            aside.chmod(0o666 & ~_umask())
            aside.replace(path)
            _sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                handle.close()  # a full disk refuses the last flush once more
            aside.unlink(missing_ok=True)
            raise


def _open_descriptor(descriptor: int, mode: str) -> IO[Any]:
    if mode == "wb":
        return os.fdopen(descriptor, "wb")
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")


def _umask() -> int:
    """The mode bits this process takes from new files (mkstemp always makes 0600)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to fill, which takes the name ``path`` only when the block ends without an exception.

    Every file in it is fsynced before the rename. A folder that stood there is replaced as a whole.

    Raises:
        ShepherdError: where the disk refuses; nothing is left behind and the old folder is as it was.
    """
    path = Path(path)
    with _reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{path.name}.partial-", dir=path.parent))
        try:
            yield aside
            for file in aside.rglob("*"):
                if file.is_file():
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
                else:
                    _sync_directory(file)
            aside.chmod(0o777 & ~_umask())
            if path.exists():
                # A rename cannot replace a folder that holds files: the old one steps aside first.
                old = aside.with_name(aside.name + ".old")
                path.rename(old)
                aside.rename(path)
                shutil.rmtree(old)
            else:
                aside.rename(path)
            _sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


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


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a JSON lines file with its 1-based line number.

    Blank lines are skipped. ``.gz`` and ``.xz`` are read by their suffix; ``-`` is standard input.

    Raises:
        ShepherdError: naming file and line, for what is not UTF-8, not JSON, not an object, cut short, or
            written by a newer version of this package.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    line = 0
    try:
        with _open_bytes(path) as stream:
            for line, raw in enumerate(stream, start=1):
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


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def _open_bytes(path: str | os.PathLike[str]) -> Iterator[Iterable[bytes]]:
    """Lines of bytes: a text mode would split at more than the line feed."""
    if str(path) == STDIN:
        yield _stdin_bytes(sys.stdin)
    elif str(path).endswith(".gz"):
        with gzip.open(path, "rb") as stream:
            yield stream
    elif str(path).endswith(".xz"):
        with lzma.open(path, "rb") as stream:
            yield stream
    else:
        with Path(path).open("rb") as stream:
            yield stream


def _stdin_bytes(stdin: TextIO) -> Iterable[bytes]:
    """Standard input as bytes, also where a test has put text in its place."""
    buffer: Iterable[bytes] | None = getattr(stdin, "buffer", None)
    return buffer if buffer is not None else io.BytesIO(stdin.read().encode())


def _parse_object(text: str, name: str | os.PathLike[str], line: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        # A file of one object has its own lines; a row has only one.
        raise at(name, line + error.lineno - 1, f"broken JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise at(name, line, f"JSON that cannot be read: {error}") from error
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


def read_finished(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read this package's own append-only file after a kill; what was not finished is cut off the file.

    A row is finished when its line end was written. A file that is not there has no rows.

    Raises:
        ShepherdError: if a finished line is broken, which no kill explains.
    """
    path = Path(path)
    if not path.exists():
        return []
    with path.open("r+b") as handle:
        whole = handle.read().rfind(b"\n") + 1
        handle.seek(0, os.SEEK_END)
        if handle.tell() > whole:
            handle.truncate(whole)
            handle.flush()
            os.fsync(handle.fileno())
    return [row for _, row in read_jsonl(path)]


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
