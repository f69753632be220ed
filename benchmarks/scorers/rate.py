"""The rate at which a device multiplies matrices of a model's own shapes: what a floor is counted at."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.nn.functional import linear

_GOES = 20
_TOKENS = {"cpu": 2_048, "cuda": 16_384}
"""Rows of the product: with fewer a card is not full, and with more a CPU is no faster."""
_LAUNCHES = {"cpu": 1, "cuda": 10}
"""Products a go: a card is waited for after so many, so that the waiting is no part of it."""


def matmul_rate(model: Any) -> float:
    """Operations a second of the model's largest matrix, in the dtype it computes in: the best of 20 goes.

    Of a 4-bit model it is the rate of the unpacked matrix: unpacking is what the 4 bits cost beside it.
    """
    config, device, kind = model.config, model.device, model.device.type
    weight = torch.randn(config.intermediate_size, config.hidden_size, dtype=model.dtype, device=device)
    rows = torch.randn(_TOKENS[kind], config.hidden_size, dtype=model.dtype, device=device)
    best = float("inf")
    with torch.no_grad():
        for _ in range(_GOES):
            wait_for(device)
            started = time.perf_counter()
            for _ in range(_LAUNCHES[kind]):
                linear(rows, weight)
            wait_for(device)
            best = min(best, time.perf_counter() - started)
    return 2 * _LAUNCHES[kind] * _TOKENS[kind] * weight.numel() / best


def wait_for(device: torch.device) -> None:
    """Return when a device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
