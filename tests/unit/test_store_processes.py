"""The store under two processes that write at once, and under a kill at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from shepherd.entries import Entry
from shepherd.store import Store

CHUNK = 8

# Writes chunks of 8 entries for ever, or so many; says each chunk that is finished.
WRITER = """
import sys
from pathlib import Path
from shepherd.entries import Entry
from shepherd.store import Store

name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Store(Path(sys.argv[4])) as store:
    for chunk in range(first, first + count):
        store.put([
            Entry("pool", {"plan": {"writer": name}, "chunk": chunk, "at": at}, {"text": text * 200})
            for at in range(8) for text in [f"{chunk} {at} "]
        ])
        print(chunk, flush=True)
"""


def start(name: str, first: int, count: int, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, name, str(first), str(count), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def chunk_of(store: Store, name: str, chunk: int) -> list[object]:
    keys = [{"plan": {"writer": name}, "chunk": chunk, "at": at} for at in range(CHUNK)]
    return [store.get("pool", key) for key in keys]


def whole(chunk: int) -> list[object]:
    return [{"text": f"{chunk} {at} " * 200} for at in range(CHUNK)]


def test_two_processes_that_open_and_write_at_once_lose_nothing(own_store: Path) -> None:
    """They also open a store that is not there yet at the same moment, and write the same keys."""
    writers = [
        start("same", 0, 60, own_store),
        start("same", 30, 60, own_store),
        start("own", 0, 60, own_store),
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert (writer.returncode, said) == (0, "")
    with Store(own_store) as store:
        assert store.damage() == []
        assert all(chunk_of(store, "same", chunk) == whole(chunk) for chunk in range(90))
        assert all(chunk_of(store, "own", chunk) == whole(chunk) for chunk in range(60))
        assert len(list(store.stored())) == 150 * CHUNK


def test_a_kill_at_any_moment_keeps_what_was_finished_and_no_half_chunk(own_store: Path) -> None:
    finished: dict[int, int] = {}
    for turn in range(8):
        writer = start(str(turn), 0, 10**9, own_store)
        assert writer.stdout is not None
        writer.stdout.readline()  # the first chunk is there: it is in the middle of many
        time.sleep(0.003 + 0.011 * turn)
        writer.send_signal(signal.SIGKILL)
        said, _ = writer.communicate(timeout=60)
        finished[turn] = len(said.splitlines()) + 1
        if turn == 4:
            (own_store / "store.sqlite3-shm").unlink()  # lost with the power: it can be made again
        with Store(own_store) as store:
            assert store.damage() == []
            for chunk in range(finished[turn]):
                assert chunk_of(store, str(turn), chunk) == whole(chunk)
            # At most the chunk that was not yet told is there as well, and it is whole.
            beyond = chunk_of(store, str(turn), finished[turn])
            assert beyond in ([None] * CHUNK, whole(finished[turn]))
            store.put([Entry("pool", {"after": turn}, {})])
    with Store(own_store) as store:
        for turn, count in finished.items():
            assert all(chunk_of(store, str(turn), chunk) == whole(chunk) for chunk in range(count))
        assert all(row.fault() is None for row in store.stored())
    assert sum(finished.values()) > 8
