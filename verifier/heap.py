"""The allocator of a process that computes on the CPU: freed memory is kept for the next tensor.

glibc gives a block of some megabytes back to the kernel as soon as it is freed, and every page of the next
tensor is faulted in again. `heap.py` in benchmarks/ has what that costs.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BLOCK_BYTES = 1 << 30
"""Only larger blocks are the kernel's own: embeddings, heads."""


def keep_freed_memory() -> bool:
    """Tell glibc, for as long as the process lives; other allocators are left as they are.

    Returns:
        Whether it was told.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a libc without it
        return False
    told = [mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES), mallopt(_TRIM_THRESHOLD, 2**31 - 1)]  # one may be refused
    return all(told)
