"""How many tokens a pass may have, by what a token takes and by the memory there is: arithmetic, no torch."""

from __future__ import annotations

LEAST_TOKENS = 256
"""No pass is made smaller than this by what was measured."""

SHARE = 0.5
"""Of the memory that is free: other processes, fragments, and what a library holds inside have the rest."""

CPU_BYTES, CPU_TOKENS = 64 << 20, 1024
"""Of a pass on a CPU: what no longer fits its caches is not read faster (`benchmarks/scoring.py --sweep`).
It has so many tokens all the same: with fewer, weights would be unpacked and questions read too often."""


def tokens_that_fit(a_token: float, fixed: float, free: float, cpu_bytes: int | None) -> int:
    """The tokens of a pass, a power of two.

    Args:
        a_token: bytes that each takes.
        fixed: bytes that any pass takes beside them.
        free: bytes of memory.
        cpu_bytes: on a CPU, most bytes of its tokens; None on a card.

    Example:
        >>> [tokens_that_fit(1 << 20, 1 << 28, 24 << 30, cpu_bytes) for cpu_bytes in (None, CPU_BYTES)]
        [8192, 1024]
    """
    fit = (SHARE * free - fixed) / a_token
    if cpu_bytes is not None:
        fit = min(fit, max(CPU_TOKENS, cpu_bytes / a_token))
    return 1 << (max(LEAST_TOKENS, int(fit)).bit_length() - 1)
