"""Entries of the store as a file that can be shared: one JSON object a line, the same bytes every time.

A file is read as hostile: every line is checked against its own hashes and its kind's records before the
first one is kept. What no check can tell is whether the model that a key names wrote what the value says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shepherd.entries import Entry, Stored, digest
from shepherd.errors import ShepherdError, at
from shepherd.files import read_jsonl, write_jsonl
from shepherd.records import Candidate, ScoreLine
from shepherd.store import Store

MAX_LINE_BYTES = 1 << 26
"""Longest line that is read: 64 MiB, some hundred times a problem with 1,024 candidates."""

_BATCH = 256  # entries a transaction: another process waits no longer than that


class Imported(NamedTuple):
    """What an import did."""

    added: int
    already_there: int
    replaced: int


def export_entries(rows: Iterable[Stored], path: Path) -> int:
    """Write entries to a file, whole or not at all, ``.gz`` and ``.xz`` compressed.

    Args:
        rows: In the order of the lines.
        path: Where to.

    Returns:
        How many.

    Raises:
        ShepherdError: for a damaged entry; nothing is written.
    """
    count = 0

    def lines() -> Iterator[Mapping[str, Any]]:
        nonlocal count
        for row in rows:
            if (fault := row.fault()) is not None:
                raise ShepherdError(
                    f"store: entry {row.hash[:12]} is damaged ({fault}); drop it with: shepherd store verify "
                    "--drop"
                )
            entry = row.entry()
            count += 1
            yield {
                "schema_version": row.schema_version,
                "kind": entry.kind,
                "hash": row.hash,
                "value_sha256": digest(entry.value),
                "model": entry.model,
                "key": entry.key,
                "value": entry.value,
            }

    write_jsonl(path, lines())
    return count


def import_entries(store: Store, path: Path, replace: bool = False) -> Imported:
    """Add the entries of a file; it is checked to its end before the first is kept.

    Args:
        store: Where to.
        path: A file that `export_entries` wrote.
        replace: Take the file's value where the store has another for the same key.

    Raises:
        ShepherdError: naming file and line, for a line that is no entry, or that differs from the store's.
    """
    added = same = replaced = 0
    for line, entry in _read(path):
        mine = store.find(entry.hash)
        if mine is None or mine.fault() is not None:
            added += 1
        elif digest(mine.entry().value) == digest(entry.value):
            same += 1
        elif replace:
            replaced += 1
        else:
            raise at(
                path,
                line,
                f"entry {entry.hash[:12]} ({entry.kind} of {entry.model}) differs from the store's; keep the "
                "store's by dropping the line, or take the file's with --replace",
            )
    batch: list[Entry] = []
    for _, entry in _read(path):
        batch.append(entry)
        if len(batch) == _BATCH:
            _add(store, batch, replace)
            batch = []
    _add(store, batch, replace)
    return Imported(added, same, replaced)


def _add(store: Store, entries: list[Entry], replace: bool) -> None:
    """Keep entries; a damaged one of the store is no reason to leave out a sound one."""
    found = [store.find(entry.hash) for entry in entries]
    store.remove([row.hash for row in found if row is not None and row.fault() is not None])
    store.put(entries, replace)


def _read(path: Path) -> Iterator[tuple[int, Entry]]:
    """Every entry of a file, checked, with its line."""
    for line, row in read_jsonl(path, max_line_bytes=MAX_LINE_BYTES):
        yield line, _entry(row, str(path), line)


def _entry(row: Mapping[str, Any], where: str, line: int) -> Entry:
    for field in ("kind", "hash", "value_sha256", "key", "value"):
        if field not in row:
            raise at(where, line, f'no "{field}" field; give a file that shepherd store export wrote')
    kind, key, value, model = row["kind"], row["key"], row["value"], row.get("model", "")
    if not isinstance(kind, str) or kind not in _CHECKS:
        raise at(where, line, f'"kind" is {kind!r:.40}; known are: {", ".join(_CHECKS)}')
    if not isinstance(key, dict) or not isinstance(key.get("plan"), dict):
        raise at(where, line, '"key" is no key of the store: an object with a plan')
    if not isinstance(value, dict) or not isinstance(model, str):
        raise at(where, line, '"value" must be an object and "model" text')
    entry = Entry(kind, key, value, model)
    try:
        fits = entry.hash == row["hash"] and digest(value) == row["value_sha256"]
    except (ValueError, RecursionError) as error:  # JSON's reader lets a NaN through
        raise at(where, line, f"what JSON does not have ({error})") from error
    if not fits:
        raise at(
            where, line, "key and value do not fit their hashes; the line was changed, get the file again"
        )
    _CHECKS[kind](entry, where, line)
    return entry


def _check_pool(entry: Entry, where: str, line: int) -> None:
    candidates = entry.value.get("candidates")
    if not isinstance(candidates, list) or len(candidates) != entry.key.get("candidates"):
        raise at(where, line, f'"candidates" must be a list of {_asked(entry)}, as the key says')
    for index, each in enumerate(candidates):
        Candidate.from_json(each, where, line, index)


def _check_scores(entry: Entry, where: str, line: int) -> None:
    scores = ScoreLine.from_json({"id": "", **entry.value}, where, line)
    if len(scores.step_scores) != entry.key.get("candidates"):
        raise at(where, line, f'"step_scores" must be {_asked(entry)} lists, as the key says')


def _asked(entry: Entry) -> str:
    return json.dumps(entry.key.get("candidates"))[:40]


_CHECKS: dict[str, Callable[[Entry, str, int], None]] = {"pool": _check_pool, "scores": _check_scores}
