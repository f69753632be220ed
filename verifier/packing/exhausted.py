"""Memory that ran out: whether that is what an error says, and what a user is told."""

from __future__ import annotations

import torch

from shepherd.errors import ShepherdError


def is_out_of_memory(error: BaseException) -> bool:
    """Did an allocation fail? The CPU's allocator has no error class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def too_little_memory(tokens: int) -> ShepherdError:
    """The error where even one solution of so many tokens cannot be read."""
    return ShepherdError(
        f"out of memory on one solution of {tokens:,} tokens; use a smaller or a quantized verifier, "
        "or a machine with more memory"
    )
