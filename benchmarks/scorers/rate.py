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
    layer, like = model.model.layers[0].mlp.up_proj, model.get_input_embeddings().weight
    kind = like.device.type
    rows = torch.randn(_TOKENS[kind], layer.in_features, dtype=like.dtype, device=like.device)
    weight = torch.randn(layer.out_features, layer.in_features, dtype=like.dtype, device=like.device)
    best = float("inf")
    with torch.no_grad():
        for _ in range(_GOES):
            wait_for(like.device)
            started = time.perf_counter()
            for _ in range(_LAUNCHES[kind]):
                linear(rows, weight)
            wait_for(like.device)
            best = min(best, time.perf_counter() - started)
    return 2 * _LAUNCHES[kind] * rows.numel() * weight.shape[0] / best


def wait_for(device: torch.device) -> None:
    """Return when a device has done all that it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
