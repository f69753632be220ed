from __future__ import annotations

import errno
import gzip
import io
import json
import lzma
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.files import (
    SCHEMA_VERSION,
    append_line,
    atomic_directory,
    atomic_write,
    dump_line,
    open_to_append,
    read_finished,
    read_json,
    read_jsonl,
    sha256_file,
    write_json,
    write_jsonl,
)

ROWS = [{"id": "a", "text": "5 €\u2028ки"}, {"id": "b", "text": "half a pair: \ud83d"}]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_rows_come_back_and_bytes_are_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a.jsonl{suffix}", tmp_path / f"b.jsonl{suffix}"
    write_jsonl(first, ROWS)
    write_jsonl(second, ROWS)
    assert first.read_bytes() == second.read_bytes()
    assert sha256_file(first) == sha256_file(second)
    assert list(read_jsonl(first)) == [
        (line, {"schema_version": SCHEMA_VERSION, **row}) for line, row in enumerate(ROWS, start=1)
    ]


@given(
    st.dictionaries(
        st.text(),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
    )
)
def test_any_row_is_one_line_of_utf8(row: dict[str, object]) -> None:
    line = dump_line(row)
    assert b"\n" not in line.encode()
    assert json.loads(line) == {"schema_version": SCHEMA_VERSION, **row}


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dump_line({"loss": float("nan")})


def test_a_file_that_is_not_finished_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.txt"
    with atomic_write(path) as handle:
        handle.write("first")
    with pytest.raises(KeyError), atomic_write(path) as handle:
        handle.write("second, cut")
        raise KeyError("a bug")
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["results.txt"]


def test_a_written_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_not_finished_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with atomic_directory(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_text("old")
    with pytest.raises(KeyError), atomic_directory(path) as folder:
        (folder / "weights").write_text("new, cut")
        raise KeyError("a bug")
    assert (path / "inner" / "weights").read_text() == "old"
    with atomic_directory(path) as folder:
        (folder / "weights").write_text("new")
    assert [each.name for each in path.iterdir()] == ["weights"]
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShepherdError, match=r"results.json: File exists; choose another place to write to"):
        write_json(tmp_path / "file" / "results.json", {})


def test_a_place_is_known_by_a_relative_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    name = "x" * 250  # the temporary file beside it has a longer one
    for path in (name, f"../here/{name}"):
        with pytest.raises(ShepherdError, match=rf"^{path}: File name too long; choose"), atomic_write(path):
            pass


def test_lines_go_to_a_new_file_or_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    for number in range(2):
        with open_to_append(path) as handle:
            append_line(handle, {"id": number})
    assert [row["id"] for row in read_finished(path)] == [0, 1]
    with (
        pytest.raises(ShepherdError, match=r"rows.jsonl/x/y: Not a directory; choose"),
        open_to_append(path / "x" / "y"),
    ):
        pass


def test_a_finished_file_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pool.jsonl"
    with open_to_append(path) as handle:
        append_line(handle, {"id": "a"})
    opened = Path.open

    def read_only(path: Path, mode: str = "r", **options: Any) -> Any:
        if "+" in mode:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", read_only)
    assert [row["id"] for row in read_finished(path)] == ["a"]
    path.write_bytes(path.read_bytes() + b'{"id":')
    with pytest.raises(ShepherdError, match=r"pool.jsonl: Read-only file system; choose another place"):
        read_finished(path)


def test_an_error_about_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out"):
        (tmp_path / "input").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": 1}\n{"id": 2,\n', ":2: broken JSON: "),
        (b'{"id": 1}\n\n[1, 2]\n', ":3: expected a JSON object, found a list"),
        (b"null", ":1: expected a JSON object, found null"),
        (b'"text"', ":1: expected a JSON object, found a string"),
        (b"12", ":1: expected a JSON object, found a number"),
        (b"true", ":1: expected a JSON object, found true or false"),
        (b'{"id": "\xff"}', r":1: not UTF-8 text \(byte 9 of the line\)"),
        (b'{"id": ' + b"[" * 200_000, ":1: JSON that cannot be read: "),
        (b'{"id": ' + b"9" * 10_000 + b"}", ":1: JSON that cannot be read: "),
        (
            b'{"schema_version": 99}',
            ":1: schema_version 99 is newer than the 1 this program reads; upgrade with: pip",
        ),
        (b'{"schema_version": "1"}', ':1: schema_version must be a whole number, found "1"'),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(ShepherdError, match=f"^{path}{message}"):
        list(read_jsonl(path))


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\r\n  \n{"id": 2}')
    assert list(read_jsonl(path)) == [(1, {"id": 1}), (4, {"id": 2})]


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_compressed_file_that_is_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    write_jsonl(path, [{"id": number, "text": os.urandom(500).hex()} for number in range(100)])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(
        ShepherdError, match=rf"rows.jsonl{suffix}:\d+: the compressed file is damaged or cut short"
    ):
        list(read_jsonl(path))
    path.write_bytes(b"no archive at all")
    with pytest.raises(
        ShepherdError, match=rf"rows.jsonl{suffix}:1: the compressed file is damaged or cut short"
    ):
        list(read_jsonl(path))


def test_compressed_files_are_ordinary_ones(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.gz", [{"id": 1}])
    write_jsonl(tmp_path / "a.xz", [{"id": 1}])
    assert json.loads(gzip.decompress((tmp_path / "a.gz").read_bytes())) == {"schema_version": 1, "id": 1}
    assert json.loads(lzma.decompress((tmp_path / "a.xz").read_bytes())) == {"schema_version": 1, "id": 1}


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ShepherdError, match=r"none.jsonl: No such file or directory$"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    with pytest.raises(ShepherdError, match=r"none.json: No such file or directory$"):
        read_json(tmp_path / "none.json")


def test_standard_input_is_read_as_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1}\n{')))
    rows = read_jsonl("-")
    assert next(rows) == (1, {"id": 1})
    with pytest.raises(ShepherdError, match=r"^standard input:2: broken JSON"):
        next(rows)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"id": 3}'))
    assert list(read_jsonl("-")) == [(1, {"id": 3})]


def test_a_json_file_names_the_line_it_breaks_on(tmp_path: Path) -> None:
    path = tmp_path / "verifier.json"
    path.write_text('{\n "tag": 5,\n "good": \n}')
    with pytest.raises(ShepherdError, match=r"verifier.json:4: broken JSON"):
        read_json(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ShepherdError, match="not UTF-8"):
        read_json(path)
    write_json(path, {"tag": "ки"})
    assert read_json(path) == {"schema_version": 1, "tag": "ки"}


@pytest.mark.parametrize("torn", ["", '{"id": "c"', '{"id": "c"}', "{", "\x00\x00"])
def test_what_a_kill_left_half_written_is_cut_off(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "pool.jsonl"
    with path.open("w") as handle:
        for row in ({"id": "a"}, {"id": "b"}):
            append_line(handle, row)
        handle.write(torn)
    assert [row["id"] for row in read_finished(path)] == ["a", "b"]
    with path.open("a") as handle:
        append_line(handle, {"id": "c"})
    assert [row["id"] for _, row in read_jsonl(path)] == ["a", "b", "c"]


def test_a_finished_line_that_is_broken_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text('{"id": "a"}\n{"id\n{"id": "c"}\n')
    with pytest.raises(ShepherdError, match=r"pool.jsonl:2: broken JSON"):
        read_finished(path)
    assert read_finished(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_an_unfinished_line_of_any_length_is_cut_off(tmp_path: Path, size: int) -> None:
    path = tmp_path / "scores.jsonl"
    finished = b'{"id": "a"}\n{"id": "' + b"b" * 70_000 + b'"}\n'
    path.write_bytes(finished + b"x" * size)
    assert [len(row["id"]) for row in read_finished(path)] == [1, 70_000]
    assert path.read_bytes() == finished
    path.write_bytes(b"x" * size)
    assert read_finished(path) == []
    assert path.read_bytes() == b""
