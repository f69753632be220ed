"""This project's trainer, packed as it decides for itself or one row a solution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch
from scorers.rate import wait_for
from scorers.rivals import pad
from trainers.rows import rows_of
from trainers.watch import CardWatch, Watch, Watched, state_bytes

from verifier.batches import EncodedRow
from verifier.packing.allocations import Allocations
from verifier.prepare import Prepared
from verifier.training import Trainer

CLOSE = 1.05
"""A smaller batch is taken where it costs no more than this, since it needs less memory."""


def make_trainer(prepared: Prepared, folder: Path) -> Trainer:
    """The trainer of a plan, its metrics kept nowhere."""
    trainer = Trainer(prepared, SimpleNamespace(path=folder, log=lambda _: None, metric=lambda **_: None))
    trainer.model.train()
    return trainer


def watch_on(device: str) -> Watch | CardWatch:
    """What a training on a device is watched by."""
    return CardWatch() if device == "cuda" else Watch(Allocations())


def train(prepared: Prepared, folder: Path, packs: bool) -> Watched:
    """Every step of the plan.

    Args:
        prepared: of `trainers.rows.plan`.
        folder: that the trainer may write to.
        packs: read distinct prefixes once where that is less work; else pad.
    """
    trainer = make_trainer(prepared, folder)
    if not packs:
        trainer.reader.packs = False
    losses: list[float] = []
    watch = watch_on(prepared.config.device)
    for step in range(prepared.steps):
        watch.begin()
        losses.append(trainer._step(step)["loss"])
        watch.end()
    return watch.found(losses, sum(map(state_bytes, trainer.optimizers)))


def best_batch(prepared: Prepared, folder: Path, sizes: Sequence[int]) -> tuple[int, dict[int, float]]:
    """The batch size for rivals: the smallest that is about as fast as any, on the rows of a step.

    Forward and backward of the body with its adapter are timed, which are alike in all of them.

    Returns:
        The size, and the seconds of each.
    """
    reader = make_trainer(prepared, folder).reader
    rows = rows_of(prepared)[0]
    _pass(reader.body, rows[:1])  # the first has more to do
    wait_for(reader.device)
    seconds = {}
    for size in sizes:
        started = time.perf_counter()
        for at in range(0, len(rows), size):
            _pass(reader.body, rows[at : at + size])
        wait_for(reader.device)
        seconds[size] = time.perf_counter() - started
    least = min(seconds.values())
    return min(size for size, took in seconds.items() if took <= CLOSE * least), seconds


def _pass(body: torch.nn.Module, rows: Sequence[EncodedRow]) -> None:
    ids = pad([row.ids for row in rows]).to(next(body.parameters()).device)
    body(input_ids=ids, use_cache=False).last_hidden_state.square().mean().backward()
