"""Files and folders that appear whole or not at all, and a full disk told in one line."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from shepherd.errors import ShepherdError

# Libraries that write through their own code report a full disk as text, not as an OSError.
_SAYS_FULL = re.compile(r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = _FULL | {errno.EIO, errno.EROFS}
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG})
_SHOWN_PATH = 200  # a name that is too long may be a text pasted in a file's place


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


def refusal(error: BaseException) -> ShepherdError | None:
    """Say in one line what the system refused where no code expected it; None if ``error`` may be a bug.

    Example:
        >>> print(refusal(PermissionError(13, "Permission denied", "pool.jsonl")))
        pool.jsonl: Permission denied
        >>> refusal(FileNotFoundError(2, "No such file or directory", "pool.jsonl"))
    """
    where = getattr(error, "filename", None)
    if is_disk_full(error):
        return write_error(where or "writing", error)
    if isinstance(error, OSError) and error.errno in _FORBIDDEN and where is not None:
        return ShepherdError(f"{str(where)[:_SHOWN_PATH]}: {os.strerror(error.errno)}")
    return None


def _is_about(path: str | os.PathLike[str], error: OSError) -> bool:
    """Is it this file, one that it is made from, or a folder above it that could not be written?"""
    if error.filename is None:  # a write to an open file does not say which
        return error.errno in _REFUSED
    # The name of a temporary file is absolute, whatever its folder was called by.
    mine, its = (str(Path(str(each)).resolve()) for each in (path, error.filename))
    return its.startswith(mine) or mine.startswith(its)


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
                try:
                    aside.rename(path)
                except BaseException:
                    old.rename(path)
                    raise
                shutil.rmtree(old)
            else:
                aside.rename(path)
            _sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
