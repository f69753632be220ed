"""Columns of numbers kept under a key: written once, then mapped into memory by whoever wants them.

The store's file holds thousands of small values, each read whole. A training's rows and tokens are the
opposite, a few columns of hundreds of megabytes of which a step reads some kilobytes, so they lie beside that
file: a folder for each key, a raw file for each column, and a manifest with the key in full and a SHA-256 of
every column. All of them are checked whenever a folder is opened; what is damaged is dropped and made anew.

A folder is written aside and renamed. Who writes it holds a lock on it, so that what a killed process left is
known and swept away. Two processes that make the same columns both end well: the second finds the name taken.

Left out on purpose: a size limit (`shepherd store prune` has one), and any byte order but this machine's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shepherd.entries import canonical, digest
from shepherd.files import SCHEMA_VERSION
from shepherd.store import ENVIRONMENT, Age, StoreError, default_folder, warn

KINDS = ("rows", "tokens")
"""What is kept so: training rows as read, and their tokens."""

_FOLDER = "columns"
_MANIFEST = "manifest"
_ABOUT = "about"
_FIELDS = ("kind", "key", "model", "questions", "rows", "created", "columns")
_PARTIAL = ".partial"
_YOUNG_S = 60.0  # a folder this young may be about to be locked
_BUFFER = 1 << 20


class Kept(NamedTuple):
    """Columns by name, each of shape ``(n,)`` and read-only, and what is said of them as JSON data."""

    columns: Mapping[str, NDArray[Any]]
    about: dict[str, Any]


class Listed(NamedTuple):
    """A kept folder as its manifest describes it.

    Attributes:
        address: the folder's name.
        kind: one of `KINDS`.
        model: what it was made from, for a human.
        key: all that decides the columns; empty where the manifest is damaged.
        questions: different questions of its rows.
        rows: how many there are.
        created: Unix seconds.
        size_bytes: of all files.
    """

    address: str
    kind: str
    model: str
    key: dict[str, Any]
    questions: int
    rows: int
    created: float
    size_bytes: int

    @property
    def age(self) -> Age:
        """For `shepherd.store_list.to_prune`."""
        return Age(self.address, self.created, self.size_bytes)


class Writer:
    """Takes columns piece by piece: to files in `folder`, or where there is none into memory.

    Raises:
        StoreError: where the disk refuses.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._types: dict[str, np.dtype[Any]] = {}
        self._memory: dict[str, bytearray] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._hashes: dict[str, Any] = {}
        self._open = ExitStack()

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Append `values`, shape ``(n,)``, to a column; the first piece decides its type."""
        if self._types.setdefault(name, values.dtype) != values.dtype:
            raise ValueError(f"column {name} has {self._types[name]}, not {values.dtype}")
        piece = np.ascontiguousarray(values).view(np.uint8).data
        if self._folder is None:
            self._memory.setdefault(name, bytearray()).extend(piece)
            return
        with _reported(self._folder):
            if name not in self._files:
                handle = (self._folder / name).open("wb", buffering=_BUFFER)
                self._files[name] = self._open.enter_context(handle)
                self._hashes[name] = hashlib.sha256()
            self._hashes[name].update(piece)
            self._files[name].write(piece)

    def kept_in_memory(self, about: dict[str, Any]) -> Kept:
        """What was added; of a writer without a folder."""
        columns = {name: np.frombuffer(raw, self._types[name]) for name, raw in self._memory.items()}
        for column in columns.values():
            column.flags.writeable = False
        return Kept(columns, about)

    def finish(self, kind: str, key: Mapping[str, Any], model: str, about: dict[str, Any]) -> Kept:
        """Write the manifest, make all of it durable, and map it."""
        assert self._folder is not None
        self.add(_ABOUT, _as_bytes(json.dumps(about)))
        with _reported(self._folder):
            self.close(durable=True)
            columns = {
                name: {
                    "dtype": dtype.str,
                    "count": (self._folder / name).stat().st_size // dtype.itemsize,
                    "sha256": self._hashes[name].hexdigest(),
                }
                for name, dtype in self._types.items()
            }
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "kind": kind,
                "key": key,
                "model": model,
                "questions": about.get("questions_kept", 0),
                "rows": about.get("rows_kept", 0),
                "created": time.time(),
                "columns": columns,
            }
            text = canonical(manifest)
            with (self._folder / _MANIFEST).open("w", encoding="utf-8") as handle:
                handle.write(f"{_sha256(text)}\n{text}\n")
                handle.flush()
                os.fsync(handle.fileno())
            _sync(self._folder)
            return Kept(_mapped(self._folder, manifest, checked=False), about)

    def close(self, *, durable: bool = False) -> None:
        """Close the files, after an fsync of each if they are to last."""
        if durable:
            for handle in self._files.values():
                handle.flush()
                os.fsync(handle.fileno())
        self._open.close()


def columns_of(
    kind: str,
    key: Mapping[str, Any] | None,
    model: str,
    fill: Callable[[Writer], dict[str, Any]],
) -> Kept:
    """Make columns, keep them under `key`, and give them; in memory alone where they cannot be kept.

    Args:
        kind: one of `KINDS`.
        key: all that decides them; None keeps nothing.
        model: what they are made from, for a human.
        fill: adds every piece, and says something of the whole. Called again where the disk refuses.
    """
    if key is not None:
        try:
            return _write(kind, key, model, fill)
        except StoreError as error:
            warn(f"{error}; going on without the store")
    writer = Writer(None)
    return writer.kept_in_memory(fill(writer))


def find(kind: str, key: Mapping[str, Any] | None) -> Kept | None:
    """The columns of a key, every byte checked; None where there are none that are whole.

    What is damaged is told in one line and dropped.
    """
    if key is None:
        return None
    place = _place(kind, key)
    try:
        manifest = _manifest(place)
        if (manifest["kind"], canonical(manifest["key"])) != (kind, canonical(key)):
            raise _DamagedError("it is of another key")
        columns = _mapped(place, manifest, checked=True)
        return Kept(columns, json.loads(columns[_ABOUT].tobytes()))
    except FileNotFoundError:
        if not place.is_dir():
            return None
        damage = "a file is missing"
    except OSError as error:
        warn(f"{place}: {_why(error)}; going on without it")
        return None
    except _DamagedError as error:
        damage = str(error)
    warn(f"{place}: dropped and made anew: {damage}")
    remove([place.name])
    return None


def listed() -> list[Listed]:
    """Every kept folder, the oldest first; of a damaged one its size and date are known."""
    found = []
    for place in _places():
        with suppress(OSError):
            size = sum(file.stat().st_size for file in place.iterdir())
            created, kind = place.stat().st_mtime, place.name.partition("-")[0]
            try:
                said = _manifest(place)
            except (_DamagedError, FileNotFoundError):
                found.append(Listed(place.name, kind, "", {}, 0, 0, created, size))
                continue
            about = (said["model"], said["key"], said["questions"], said["rows"], said["created"])
            found.append(Listed(place.name, said["kind"], *about, size))
    return sorted(found, key=lambda each: (each.created, each.address))


def faults() -> dict[str, str | None]:
    """By its name, what is wrong with each kept folder, or None; every byte is read."""
    found: dict[str, str | None] = {}
    for place in _places():
        found[place.name] = None
        try:
            _mapped(place, _manifest(place), checked=True)
        except (_DamagedError, OSError) as error:
            found[place.name] = _why(error) if isinstance(error, OSError) else str(error)
    return found


def remove(addresses: list[str]) -> None:
    """Drop kept folders; who has them mapped keeps what is mapped."""
    for address in addresses:
        place = _parent() / address
        aside = place.with_name(f"{address}.{os.getpid()}{_PARTIAL}")
        with suppress(OSError):
            place.rename(aside)  # so that nobody opens half of it
            shutil.rmtree(aside)


class _DamagedError(Exception):
    """What is there is not what was written."""


def _parent() -> Path:
    return default_folder() / _FOLDER


def _place(kind: str, key: Mapping[str, Any]) -> Path:
    return _parent() / f"{kind}-{digest([SCHEMA_VERSION, sys.byteorder, kind, key])[:32]}"


def _places() -> Iterator[Path]:
    """Folders that bear their final name."""
    with suppress(OSError):
        yield from (each for each in sorted(_parent().iterdir()) if each.suffix != _PARTIAL)


def _manifest(place: Path) -> dict[str, Any]:
    """The manifest of a folder, checked against its own hash."""
    found, _, text = (place / _MANIFEST).read_bytes().decode("utf-8", "replace").partition("\n")
    text = text.removesuffix("\n")
    if _sha256(text) != found:
        raise _DamagedError("its manifest does not fit its checksum")
    try:
        manifest: dict[str, Any] = json.loads(text)
        for name in _FIELDS:
            manifest[name]
    except (ValueError, TypeError, KeyError) as error:
        raise _DamagedError(f"its manifest is no manifest ({error})") from error
    return manifest


def _mapped(place: Path, manifest: Mapping[str, Any], *, checked: bool) -> dict[str, NDArray[Any]]:
    """The columns of a folder; what is mapped is the very file that was checked, whatever is renamed."""
    return {name: _column(place / name, said, checked=checked) for name, said in manifest["columns"].items()}


def _column(path: Path, said: Mapping[str, Any], *, checked: bool) -> NDArray[Any]:
    dtype, count = np.dtype(said["dtype"]), int(said["count"])
    with path.open("rb") as handle:
        if os.fstat(handle.fileno()).st_size != count * dtype.itemsize:
            raise _DamagedError(f"{path.name} is not as long as it was written")
        if checked and hashlib.file_digest(handle, "sha256").hexdigest() != said["sha256"]:
            raise _DamagedError(f"{path.name} does not fit its checksum")
        if not count:
            return np.empty(0, dtype)  # nothing of no length is mapped
        # A plain array: a slice of a memmap takes several times as long.
        return np.asarray(np.memmap(handle, dtype, "r", shape=(count,)))


def _write(kind: str, key: Mapping[str, Any], model: str, fill: Callable[[Writer], dict[str, Any]]) -> Kept:
    place = _place(kind, key)
    with _aside(place) as folder:
        writer = Writer(folder)
        try:
            about = fill(writer)
            kept = writer.finish(kind, key, model, about)
        finally:
            with suppress(OSError):
                writer.close()  # a full disk refuses the last flush once more
        with suppress(OSError):  # another process was faster: its columns are the same
            folder.rename(place)
            _sync(place.parent)
        return kept


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A folder to fill, locked while it is filled, gone afterwards unless it was renamed."""
    with _reported(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place.parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{place.name}.", suffix=_PARTIAL, dir=place.parent))
        lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove what killed processes left half-written: nobody holds its lock."""
    for folder in parent.glob(f"*{_PARTIAL}"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Tell in one line what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder}: {_why(error)}; free some space, or choose another place with {ENVIRONMENT}=FOLDER"
        ) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
