"""The content-addressed store: what was sampled or scored once, kept under all that decides it.

One SQLite file, and not a file an entry, because a chunk must appear whole or not at all, a pool is thousands
of small entries, and `shepherd store ls` asks over all of them. Write-ahead logging lets one process write
while others read; a killed process leaves whole transactions and nothing else. A store is one machine's
(write-ahead logging needs shared memory); machines exchange entries with `shepherd store export`.

Left out on purpose: when an entry was last read (every look-up would have to write).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click

from shepherd.console import clean
from shepherd.entries import Entry, Stored, canonical, digest, pack
from shepherd.errors import ShepherdError
from shepherd.files import SCHEMA_VERSION, sha256_file

ENVIRONMENT = "SHEPHERD_STORE"
"""Environment variable that names the store's folder."""

DATABASE = "store.sqlite3"
BUSY_S = 30.0
"""Seconds that a process waits for another's transaction."""

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL, schema_version INTEGER NOT NULL, model TEXT NOT NULL,
    key TEXT NOT NULL, value BLOB NOT NULL, checksum TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
"""
_COLUMNS = "hash, kind, schema_version, model, key, value, checksum, created"
_READ = _COLUMNS.replace("value", "CAST(value AS BLOB)")  # what is damaged may be of any type
_ELSEWHERE = f"choose another place with {ENVIRONMENT}=FOLDER"
_REMOVE = "remove the file, what it held can be computed again"
_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space",
    sqlite3.SQLITE_READONLY: _ELSEWHERE,
    sqlite3.SQLITE_CANTOPEN: _ELSEWHERE,
    sqlite3.SQLITE_IOERR: _ELSEWHERE,
    sqlite3.SQLITE_BUSY: f"another process has held it for {BUSY_S:.0f} s",
}
_SETTLED_S = 2.0  # a file changed since could change again without a new modification time


class StoreError(ShepherdError):
    """The disk refuses the store, or its file is damaged: a run goes on without it."""


def default_folder() -> Path:
    """``$SHEPHERD_STORE``, else ``shepherd/store`` in the user's cache (XDG)."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "shepherd" / "store"


class Age(NamedTuple):
    """When an entry was made (Unix seconds), and the bytes of its key and value."""

    hash: str
    created: float
    size_bytes: int


class Store:
    """The store in a folder, opened by this process; a context manager that closes it.

    Args:
        folder: Made if it is not there.

    Raises:
        StoreError: here and in every method, where the disk refuses or the file is damaged.
        ShepherdError: if a newer version of this package wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / DATABASE
        with self._reported():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._db.text_factory = _text
        try:
            with self._reported():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, kind: str, key: Mapping[str, Any]) -> Any | None:
        """The value of a key, or None; a damaged entry is told in one line, dropped, and not there."""
        address, text = digest([kind, key]), canonical(key)
        with self._reported():
            row = self._db.execute(f"SELECT {_READ} FROM entries WHERE hash = ?", [address]).fetchone()
        if row is None:
            return None
        stored = Stored(*row)
        fault = stored.fault()
        if fault is None and (stored.kind, stored.key) != (kind, text):
            fault = "another key has its hash"
        if fault is not None:
            warn(f"{self.path}: entry {address[:12]} is dropped and computed again: {fault}")
            self.remove([address])
            return None
        self._refuse_newer(stored.schema_version)
        return stored.entry().value

    def put(self, entries: Sequence[Entry], replace: bool = False) -> None:
        """Keep entries, all of them or none; one that is there already stays unless ``replace``."""
        now = time.time()
        rows = [pack(each, now) for each in entries]
        how = "REPLACE" if replace else "IGNORE"
        with self._transaction():
            self._db.executemany(
                f"INSERT OR {how} INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def stored(self) -> Iterator[Stored]:
        """Every row, by kind and hash, damaged ones among them."""
        with self._reported():
            rows = self._db.execute(f"SELECT {_READ} FROM entries ORDER BY kind, hash")
            while (row := rows.fetchone()) is not None:
                yield Stored(*row)

    def ages(self) -> list[Age]:
        """Age and size of every entry, the oldest first."""
        with self._reported():
            rows = self._db.execute(
                "SELECT hash, created, length(key) + length(value) FROM entries ORDER BY created, hash"
            ).fetchall()
        return [Age(*row) for row in rows]

    def find(self, address: str) -> Stored | None:
        """The row at a hash, damaged or not."""
        with self._reported():
            row = self._db.execute(f"SELECT {_READ} FROM entries WHERE hash = ?", [address]).fetchone()
        return None if row is None else Stored(*row)

    def remove(self, addresses: Sequence[str]) -> None:
        """Drop the entries at these hashes."""
        with self._transaction():
            self._db.executemany("DELETE FROM entries WHERE hash = ?", [(each,) for each in addresses])

    def compact(self) -> None:
        """Give the room of dropped entries back to the disk."""
        with self._reported():
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file as a whole; empty if nothing."""
        with self._reported():
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    def file_sha256(self, path: Path) -> str:
        """SHA-256 of a file, read once for each size, modification time and inode."""
        path = path.resolve()
        before = path.stat()
        stamp = (before.st_size, before.st_mtime_ns, before.st_ino)
        with self._reported():
            row = self._db.execute(
                "SELECT sha256 FROM files WHERE (path, size, mtime_ns, inode) = (?, ?, ?, ?)",
                [str(path), *stamp],
            ).fetchone()
        if row is not None:
            return str(row[0])
        found = sha256_file(path)
        if time.time() - before.st_mtime > _SETTLED_S:
            with self._transaction():
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", [str(path), *stamp, found]
                )
        return found

    def _prepare(self) -> None:
        """Check the version, switch write-ahead logging on, make the tables."""
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        self._refuse_newer(version)
        self._db.execute(
            "PRAGMA synchronous = NORMAL"
        )  # a power cut may cost the last entries, never the file
        if version == 0:
            self._log_ahead()
            with self._transaction():
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _log_ahead(self) -> None:
        """Switch to write-ahead logging; SQLite does not wait while another process does the same."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _refuse_newer(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise ShepherdError(
                f"{self.path}: schema_version {version} is newer than the {SCHEMA_VERSION} of this program; "
                f"upgrade with: pip install -U shepherd-prm, or {_ELSEWHERE}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reported():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Tell what SQLite or the disk refuses in one line."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            # All else is damage: a table can be lost with a page, a number can become a text.
            remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF, _REMOVE)
            raise StoreError(f"{self.path}: {error}; {remedy}") from error
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise StoreError(f"{self.folder}: {why}; {_ELSEWHERE}") from error


def _text(raw: bytes) -> str:
    """Text of a column that may be damaged: its checks tell, not its encoding."""
    return raw.decode("utf-8", "replace")


def warn(message: str) -> None:
    """Say something about the store on stderr, in one line."""
    click.echo(f"store: {clean(message)}", err=True)
