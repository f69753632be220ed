"""Run beside vLLM's processes, to end them when the process that started them is gone.

    python -S vllm_guard.py LOG

It waits for the end of its standard input, whose other end the starter holds: that comes even where the
starter is killed with a signal that no one can catch. vLLM 0.31 would wait for its next request forever then,
with the model in memory. Its processes are known by what they print to: the log that was made for them.
(Not by their environment, which they write their titles over.)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def end_writers(log: os.stat_result) -> None:
    """Kill every process whose standard output is ``log``, but for Python's resource tracker.

    That one ends by itself, once it has cleaned up what the others shared. The file is known by its inode:
    it may have lost its name by then.
    """
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            writes = os.path.samestat((folder / "fd" / "1").stat(), log)
            if writes and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue  # gone, or another user's


if __name__ == "__main__":
    with Path(sys.argv[1]).open("rb") as opened:  # held open, so that its inode stays its own
        sys.stdin.buffer.read()
        end_writers(os.fstat(opened.fileno()))
    Path(sys.argv[1]).unlink(missing_ok=True)  # no one is left to read it
