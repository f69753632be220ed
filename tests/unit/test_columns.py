"""Columns of the store: what goes in comes out, mapped and read-only, whatever is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd import columns
from shepherd.columns import KINDS, Kept, Writer, columns_of, find
from shepherd.store_cli import _COLUMNS

KEY = {"data": "a", "limit": None}
PIECES = {"long": [np.arange(5), np.arange(0), np.arange(3)], "nothing": [np.empty(0, np.float32)]}


def fill(writer: Writer) -> dict[str, Any]:
    for name, pieces in PIECES.items():
        for piece in pieces:
            writer.add(name, piece)
    return {"text": "\x00 \ud800 ½", "rows_kept": 8}


def check(kept: Kept | None) -> None:
    assert kept is not None
    assert kept.columns["long"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert (len(kept.columns["nothing"]), kept.columns["nothing"].dtype) == (0, np.float32)
    assert kept.about == {"text": "\x00 \ud800 ½", "rows_kept": 8}
    assert not kept.columns["long"].flags.writeable


def test_what_is_kept_is_found_under_its_key_alone() -> None:
    assert find("rows", KEY) is None
    check(columns_of("rows", KEY, "name", fill))
    check(find("rows", KEY))
    assert find("tokens", KEY) is None
    assert find("rows", {**KEY, "limit": 1}) is None
    assert find("rows", None) is None


def test_without_a_key_all_is_in_memory(own_store: Path) -> None:
    check(columns_of("rows", None, "name", fill))
    assert not own_store.exists()


def test_who_comes_second_takes_his_own_and_leaves_the_first(own_store: Path) -> None:
    first = columns_of("rows", KEY, "first", fill)
    check(columns_of("rows", KEY, "second", fill))
    check(first)
    assert [each.model for each in columns.listed()] == ["first"]
    assert len(list((own_store / "columns").iterdir())) == 1


def test_what_fails_on_the_way_leaves_nothing(own_store: Path) -> None:
    def stop(writer: Writer) -> dict[str, Any]:
        fill(writer)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        columns_of("rows", KEY, "name", stop)
    assert list((own_store / "columns").iterdir()) == []


def test_a_column_has_one_type() -> None:
    writer = Writer(None)
    writer.add("a", np.arange(2))
    with pytest.raises(ValueError, match="column a has int64, not float64"):
        writer.add("a", np.ones(1))


def test_a_store_that_cannot_be_read_is_gone_without(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns_of("rows", KEY, "name", fill)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(columns, "_manifest", refuse)
    assert find("rows", KEY) is None
    said = capsys.readouterr().err
    assert "Permission denied; going on without it" in said
    monkeypatch.undo()
    assert len(list((own_store / "columns").iterdir())) == 1  # what cannot be read is not thrown away


@given(st.lists(st.lists(st.floats(width=32), max_size=5), max_size=5))
def test_any_numbers_come_back_bit_by_bit(pieces: list[list[float]]) -> None:
    whole = np.array([each for piece in pieces for each in piece], np.float32)

    def write(writer: Writer) -> dict[str, Any]:
        writer.add("all", np.empty(0, np.float32))
        for piece in pieces:
            writer.add("all", np.array(piece, np.float32))
        return {}

    key = {"pieces": [[each.hex() for each in piece] for piece in pieces]}
    columns_of("rows", key, "", write)
    found = find("rows", key)
    assert found is not None
    assert found.columns["all"].tobytes() == whole.tobytes()
    columns.remove([each.address for each in columns.listed()])


def test_the_command_knows_every_kind() -> None:
    assert set(_COLUMNS) == set(KINDS)
