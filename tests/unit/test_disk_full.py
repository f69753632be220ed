"""A disk that is full is one clear line, and what was finished before stays as it was."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shepherd.errors import ShepherdError
from shepherd.files import append_line, atomic_directory, atomic_write, read_finished, write_jsonl

FULL = r"(No space left on device|File too large); nothing finished was lost, free some space and run again$"
BIG = "x" * 3_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte; where nothing can be mounted, files of a megabyte at most."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        yield disk
        subprocess.run(["umount", str(disk)], check=True)
    else:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        yield disk
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_appears_whole_or_not_at_all(small_disk: Path) -> None:
    path = small_disk / "results.txt"
    with atomic_write(path) as handle:
        handle.write("finished")
    with pytest.raises(ShepherdError, match=rf"results.txt: {FULL}"), atomic_write(path) as handle:
        handle.write(BIG)
    assert path.read_text() == "finished"
    assert os.listdir(small_disk) == ["results.txt"]


def test_the_last_flush_can_be_what_fails(small_disk: Path) -> None:
    """A disk with less room than the buffer fails only when the block ends."""
    with (
        (small_disk / "filler").open("wb", buffering=0) as filler,
        pytest.raises(OSError, match=r"space|large"),
    ):
        while True:
            filler.write(b"x" * 1000)
    if os.statvfs(small_disk).f_bavail:
        pytest.skip("nothing can be mounted here, and a limit of single files leaves room for more")
    path = small_disk / "results.txt"
    with pytest.raises(ShepherdError, match=rf"results.txt: {FULL}"), atomic_write(path) as handle:
        handle.write("short")
    assert os.listdir(small_disk) == ["filler"]


def test_a_compressed_pool_appears_whole_or_not_at_all(small_disk: Path) -> None:
    rows = ({"id": str(number), "noise": os.urandom(500).hex()} for number in range(10_000))
    with pytest.raises(ShepherdError, match=rf"pool.jsonl.gz: {FULL}"):
        write_jsonl(small_disk / "pool.jsonl.gz", rows)
    assert os.listdir(small_disk) == []


def test_a_folder_appears_whole_or_not_at_all(small_disk: Path) -> None:
    with atomic_directory(small_disk / "checkpoint") as folder:
        (folder / "weights").write_text("finished")
    with (
        pytest.raises(ShepherdError, match=rf"checkpoint: {FULL}"),
        atomic_directory(small_disk / "checkpoint") as folder,
    ):
        (folder / "weights").write_text(BIG)
    assert (small_disk / "checkpoint" / "weights").read_text() == "finished"
    assert os.listdir(small_disk) == ["checkpoint"]


def test_a_library_that_reports_it_in_words_is_understood(tmp_path: Path) -> None:
    with (
        pytest.raises(ShepherdError, match="checkpoint: No space left on device; nothing finished"),
        atomic_directory(tmp_path / "checkpoint"),
    ):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(RuntimeError, match="a bug"), atomic_directory(tmp_path / "checkpoint"):
        raise RuntimeError("a bug")


def test_rows_appended_before_stay_readable(small_disk: Path) -> None:
    path = small_disk / "pool.jsonl"
    with pytest.raises(ShepherdError, match=rf"pool.jsonl: {FULL}"), path.open("a") as handle:
        append_line(handle, {"id": "a"})
        append_line(handle, {"id": "b", "text": BIG})
    assert [row["id"] for row in read_finished(path)] == ["a"]


def test_a_command_ends_with_one_line(small_disk: Path) -> None:
    """Also where no code expects it: the last net is the command table's."""
    code = (
        "import sys, types, click\n"
        "from shepherd import cli\n"
        "@click.command()\n"
        "def fill():\n"
        "    pass\n"
        "sys.modules['filler'] = types.SimpleNamespace(fill=fill)\n"
        "cli.COMMANDS['fill'] = ('filler:fill', '')\n"
        "fill.params.append(click.Argument(['path']))\n"
        "fill.callback = lambda path: open(path, 'w').write('x' * 3_000_000)\n"
        "cli.main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "fill", str(small_disk / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("error: ")
    assert run.stderr.count("\n") == 1
