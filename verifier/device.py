"""Which kind of device computes: part of every key in the store, since CPU and GPU round differently."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

# Where no driver has put one of these, torch finds no CUDA device (NVIDIA, Jetson, WSL, ROCm).
_FOLDER = Path("/dev")
_DRIVERS = ("nvidia*", "nvhost*", "dxg", "kfd")


def device_kind(device: str) -> Literal["cpu", "cuda"]:
    """``cpu`` or ``cuda`` for a config's ``device``; torch is imported only where there may be a GPU.

    Example:
        >>> device_kind("cpu"), device_kind("cuda")
        ('cpu', 'cuda')
    """
    if device != "auto":
        return "cuda" if device.startswith("cuda") else "cpu"
    if "torch" not in sys.modules and not any(any(_FOLDER.glob(each)) for each in _DRIVERS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
