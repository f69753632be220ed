"""Freed memory is kept: glibc is told, and what it then does can be seen."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import pytest

from verifier.heap import keep_freed_memory

FAULTS = """
    import resource, sys
    import numpy as np
    from verifier.heap import keep_freed_memory
    if sys.argv[1] == "keep":
        assert keep_freed_memory()
    def make():
        np.zeros(1 << 22, dtype=np.uint8).fill(1)
    make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        make()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _glibc() -> bool:
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.skipif(not _glibc(), reason="glibc's allocator")
def test_pages_of_freed_blocks_are_not_faulted_in_again() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", textwrap.dedent(FAULTS), how], text=True))
        for how in ("keep", "leave")
    }
    assert faults["keep"] < 1024  # one block's pages at most
    assert faults["keep"] < faults["leave"] / 4


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
