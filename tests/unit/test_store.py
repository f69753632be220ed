"""The store: keys, damage, versions, disks that refuse, files hashed once."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd import store as room
from shepherd.entries import Entry, canonical, digest
from shepherd.errors import ShepherdError
from shepherd.shelf import Shelf, open_store
from shepherd.store import DATABASE, Store, StoreError, default_folder

KEY = {"plan": {"model": "m", "temperature": 0.7}, "chunk": "c", "at": 0, "candidates": 2}
VALUE = {"candidates": [{"text": "2 + 2 = 4 ки\n\x00"}, {"text": "", "logprob": -0.25}]}

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def store(own_store: Path) -> Iterator[Store]:
    with Store(own_store) as opened:
        yield opened


def raw(store: Store) -> sqlite3.Connection:
    """The file behind the store's back."""
    return sqlite3.connect(store.path, isolation_level=None)


# --- keys ------------------------------------------------------------------------------------


def same(a: object, b: object) -> bool:
    """Equality of JSON as the store means it: Python's, but that true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(JSON, JSON)
def test_two_keys_have_one_text_exactly_where_they_are_equal(a: object, b: object) -> None:
    assert (canonical(a) == canonical(b)) == same(a, b)


@given(st.dictionaries(st.text(), JSON, min_size=2), st.randoms())
def test_the_order_of_names_and_the_kind_of_number_do_not_count(key: dict[str, Any], random: Any) -> None:
    names = list(key)
    random.shuffle(names)
    assert digest({name: key[name] for name in names}) == digest(key)
    assert canonical(json.loads(canonical(key))) == canonical(key)


def test_what_looks_alike_is_not_equal() -> None:
    assert canonical("é") != canonical("e\u0301")
    assert canonical(1) != canonical(True)
    assert canonical("1") != canonical(1)
    assert canonical([1, 2]) != canonical([2, 1])
    assert canonical({"a": None}) != canonical({})
    assert canonical((1, -0.0)) == canonical([1.0, 0])
    assert canonical(2.0**70) == canonical(2**70)
    assert json.loads(canonical("\ud800")) == "\ud800"


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_key_holds_no_number_that_json_does_not_have(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest({"temperature": number})


def test_a_name_is_a_text() -> None:
    with pytest.raises(TypeError, match="texts as names"):
        digest({1: 2})


# --- entries ---------------------------------------------------------------------------------


def test_an_entry_reads_back_as_it_was_and_the_first_one_stays(store: Store) -> None:
    assert store.get("pool", KEY) is None
    store.put([Entry("pool", KEY, VALUE, "embedded:weak")])
    assert store.get("pool", {**KEY, "at": 0.0}) == VALUE
    assert store.get("scores", KEY) is None
    assert store.get("pool", {**KEY, "at": 1}) is None
    store.put([Entry("pool", KEY, {"candidates": []})])
    assert store.get("pool", KEY) == VALUE
    store.put([Entry("pool", KEY, {"candidates": []})], replace=True)
    assert store.get("pool", KEY) == {"candidates": []}


def test_a_human_can_see_what_an_entry_is(store: Store) -> None:
    store.put([Entry("pool", KEY, VALUE, "embedded:weak")])
    (row,) = raw(store).execute("SELECT hash, kind, schema_version, model, key FROM entries").fetchall()
    assert row[:4] == (digest(["pool", KEY]), "pool", 1, "embedded:weak")
    assert json.loads(row[4]) == KEY


def test_a_chunk_is_kept_whole_or_not_at_all(store: Store) -> None:
    good, bad = Entry("pool", KEY, VALUE), Entry("pool", {"at": 1}, {"logprob": math.nan})
    with pytest.raises(ValueError, match="JSON"):
        store.put([good, bad])
    assert store.get("pool", KEY) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE entries SET value = value || x'00'", "its checksum does not fit"),
        ("UPDATE entries SET value = zeroblob(length(value))", "its checksum does not fit"),
        ("UPDATE entries SET schema_version = 7", "its checksum does not fit"),
        ("UPDATE entries SET key = replace(key, '0.7', '0.8')", "its key does not fit its hash"),
        ("UPDATE entries SET key = substr(key, 5)", "its key is broken"),
        ("UPDATE entries SET key = key || ' '", "another key has its hash"),
    ],
)
def test_a_damaged_entry_is_told_dropped_and_never_returned(
    store: Store, capsys: pytest.CaptureFixture[str], damage: str, said: str
) -> None:
    store.put([Entry("pool", KEY, VALUE)])
    raw(store).execute(damage)
    assert store.get("pool", KEY) is None
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.endswith(f"is dropped and computed again: {said}\n")
    assert list(store.stored()) == []
    store.put([Entry("pool", KEY, VALUE)])
    assert store.get("pool", KEY) == VALUE
    assert capsys.readouterr().err == ""


def test_bytes_that_rot_anywhere_in_the_file_are_never_returned(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read from a rotten file is the value that was kept, or nothing."""
    random = Random(0)
    keys = [{**KEY, "at": at} for at in range(20)]
    values = [{"candidates": [{"text": random.randbytes(300).hex()}]} for _ in keys]
    store.put([Entry("pool", key, value, "m") for key, value in zip(keys, values, strict=True)])
    store.compact()
    sound = store.path.read_bytes()
    lost = refused = 0
    for turn in range(150):
        rotten = bytearray(sound)
        for _ in range(1 + turn % 4):
            rotten[random.randrange(len(rotten))] ^= 1 << random.randrange(8)
        folder = tmp_path / str(turn)
        folder.mkdir()
        (folder / DATABASE).write_bytes(rotten)
        try:
            with Store(folder) as opened:
                found = [opened.get("pool", key) for key in keys]
        except ShepherdError:
            refused += 1
            continue
        for value, read in zip(values, found, strict=True):
            assert read in (value, None)
        lost += found.count(None)
    assert lost > 20
    assert refused < 100


def test_a_newer_store_is_refused_by_name(own_store: Path) -> None:
    with Store(own_store) as store:
        raw(store).execute("PRAGMA user_version = 2")
    refusal = rf"{DATABASE}: schema_version 2 is newer than the 1 .* pip install -U"
    with pytest.raises(ShepherdError, match=refusal), open_store():
        pass


def test_a_newer_entry_is_refused_by_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shepherd.entries.SCHEMA_VERSION", 2)
    store.put([Entry("pool", KEY, VALUE)])
    with pytest.raises(ShepherdError, match="schema_version 2 is newer"):
        store.get("pool", KEY)


# --- places ----------------------------------------------------------------------------------


def test_the_folder_is_the_environments_else_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHEPHERD_STORE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("SHEPHERD_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_folder() == Path("/cache/shepherd/store")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_folder() == Path("/home/ada/.cache/shepherd/store")


def test_a_place_that_cannot_be_written_turns_the_store_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHEPHERD_STORE", str(tmp_path / "file" / "store"))
    with open_store() as store:
        assert store is None
    told = capsys.readouterr().err
    assert told.startswith(f"store: {tmp_path}/file/store: Not a directory; choose another place")
    assert told.endswith("going on without the store\n")
    assert told.count("\n") == 1


def test_a_file_that_is_no_store_turns_the_store_off_and_stays(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_store.mkdir()
    (own_store / DATABASE).write_bytes(b"not a database at all, but long enough to look at" * 50)
    with open_store() as store:
        assert store is None
    assert "file is not a database; remove the file" in capsys.readouterr().err
    assert (own_store / DATABASE).read_bytes().startswith(b"not a database")


def test_a_store_that_is_not_wanted_is_not_made(own_store: Path) -> None:
    with open_store(False) as store:
        assert store is None
    assert not own_store.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_costs_one_line_and_no_entry(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = [os.urandom(30_000).hex() for _ in range(60)]  # nothing that could be compressed to fit
    with Store(small_disk) as store:
        shelf = Shelf(store, "pool", {"model": "m"}, "m")
        for at, text in enumerate(noise):
            shelf.write(at, [{"candidates": 1}], [{"candidates": [{"text": text}]}])
        assert shelf.store is None
        assert shelf.read(0, [{"candidates": 1}]) is None
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "full; free some space; going on without the store" in told
    with Store(small_disk) as store:
        kept = [row.entry().value["candidates"][0]["text"] for row in store.stored()]
        assert 0 < len(kept) < len(noise)
        assert set(kept) == set(noise[: len(kept)])
        assert all(row.fault() is None for row in store.stored())


def test_a_disk_that_is_read_only_turns_the_store_off(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(small_disk) as store:
        store.put([Entry("pool", KEY, VALUE)])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setenv("SHEPHERD_STORE", str(small_disk))
    with open_store() as opened:
        shelf = Shelf(opened, "pool", KEY["plan"], "m")
        shelf.write("c", [{"candidates": 2}], [VALUE])
        assert shelf.read("c", [{"candidates": 2}]) is None
    assert capsys.readouterr().err.count("going on without the store\n") == 1


def test_another_process_that_holds_it_is_waited_for_and_then_done_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BUSY_S", 0.1)
    other = raw(store)
    other.execute("BEGIN IMMEDIATE")
    with (
        Store(store.folder) as waiting,
        pytest.raises(StoreError, match="locked; another process has held it"),
    ):
        waiting.put([Entry("pool", KEY, VALUE)])
    other.execute("ROLLBACK")


def test_a_file_that_lost_its_table_is_damaged_and_a_closed_store_is_a_bug(store: Store) -> None:
    raw(store).execute("DROP TABLE entries")
    with pytest.raises(StoreError, match="no such table: entries; remove the file"):
        store.get("pool", KEY)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.get("pool", KEY)


# --- files -----------------------------------------------------------------------------------


def test_a_file_is_hashed_once_until_it_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "model.safetensors", []
    path.write_bytes(b"weights")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    hashed = room.sha256_file
    monkeypatch.setattr(room, "sha256_file", lambda each: read.append(each) or hashed(each))
    first = store.file_sha256(path)
    assert store.file_sha256(path) == first
    with Store(store.folder) as again:
        assert again.file_sha256(path) == first
    assert len(read) == 1
    path.write_bytes(b"Weights")
    os.utime(path, (1_000_000_001, 1_000_000_001))
    changed = store.file_sha256(path)
    assert changed != first
    path.unlink()
    path.write_bytes(b"weights")  # as long, as old, another file
    os.utime(path, (1_000_000_001, 1_000_000_001))
    assert (store.file_sha256(path), len(read)) in {(first, 3), (changed, 2)}  # an inode can be used again


def test_a_file_that_was_just_written_is_hashed_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    now = time.time_ns()
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(now, now))
        assert store.file_sha256(path) == room.sha256_file(path)
