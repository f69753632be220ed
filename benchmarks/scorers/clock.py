"""Seconds and bytes of a run on whatever device it has: a card is waited for before its clock is read."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from scorers.rate import wait_for
from transformers import AttentionInterface

from verifier.packing import attention
from verifier.packing.allocations import Allocations

Found = TypeVar("Found")


def timed(run: Callable[[], Found], device: torch.device) -> tuple[float, Found]:
    """Seconds of a run, and what it gave."""
    wait_for(device)
    started = time.perf_counter()
    found = run()
    wait_for(device)
    return time.perf_counter() - started, found


def best_of(goes: int, run: Callable[[], Found], device: torch.device) -> tuple[float, Found]:
    """The fastest of so many goes."""
    return min((timed(run, device) for _ in range(goes)), key=lambda each: each[0])


def peak(run: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors hold at one time, beyond those that were there before.

    On a card its allocator says it, what libraries allocate inside included; on a CPU every operation is
    watched.
    """
    gc.collect()
    if device.type == "cuda":
        wait_for(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    with Allocations() as counted:
        run()
    found: int = counted.peak
    return found


def attention_share(run: Callable[[], object], device: torch.device) -> float:
    """The part of the time that goes into attention over tiles, copies of keys and values among it.

    On a card the marks stand in its own queue, so that nobody waits between two layers.
    """
    marks: list[tuple[Any, Any]] = []
    plain = attention.attend

    def watched(*arguments: Any, **more: Any) -> Any:
        started = _mark(device)
        found = plain(*arguments, **more)
        marks.append((started, _mark(device)))
        return found

    AttentionInterface.register(attention.NAME, watched)
    try:
        whole, _ = timed(run, device)
    finally:
        AttentionInterface.register(attention.NAME, plain)
    return sum(_between(*each) for each in marks) / whole


def _mark(device: torch.device) -> Any:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _between(started: Any, ended: Any) -> float:
    """Seconds from one mark to another."""
    if isinstance(started, float):
        return float(ended - started)
    return float(started.elapsed_time(ended)) / 1e3
