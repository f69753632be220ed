"""The rate at which a machine multiplies matrices: what every floor is divided by."""

from __future__ import annotations

import time
from typing import Any

import torch

TOKENS, GOES = 2048, 20


def matmul_rate(model: Any) -> float:
    """Operations a second of the model's largest matrix on 2,048 tokens, in its dtype: the best of 20 goes.

    Args:
        model: of Llama's shape; the matrix has the size of its `up_proj`, and is not quantized.
    """
    config, device = model.config, model.device
    weight = torch.randn(config.intermediate_size, config.hidden_size, dtype=model.dtype, device=device)
    rows = torch.randn(TOKENS, config.hidden_size, dtype=model.dtype, device=device)
    best = float("inf")
    with torch.no_grad():
        for _ in range(GOES):
            wait_for(device)
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            wait_for(device)
            best = min(best, time.perf_counter() - started)
    return 2 * TOKENS * weight.numel() / best


def wait_for(device: torch.device) -> None:
    """Until a card has done what it was told; a processor has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
