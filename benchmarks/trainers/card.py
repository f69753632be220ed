"""Our trainer beside TRL's SFTTrainer on a card: a real model's shape, random weights, QLoRA or LoRA.

Both have the same rows in every step, the same base and an adapter of the same rank. TRL computes in autocast
and, in 4 bits, has its adapter in bfloat16, as it comes; so losses are compared before anything moved.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from trainers import ours, rows, sft
from trainers.base import config_of, random_model, save_tokenizer
from trainers.beside import PACKED, RECOMPUTED, UNPACKED, recomputing, run_all
from trainers.floor import floor_of, timed

from shepherd.records import StepRow
from verifier import model as models
from verifier.packing.passes import Pass
from verifier.prepare import Prepared

SFT, SFT_RECOMPUTED = "SFTTrainer (TRL 1.16)", "SFTTrainer (TRL 1.16), activations computed again"
CLOSE = 0.1
"""How near the first losses have to be: in bfloat16 one of 10 is itself good to 0.04."""


class Setting(NamedTuple):
    """What is trained, and where.

    Attributes:
        shape: sizes of the model.
        quantization: ``none`` or ``nf4``.
        dtype: of what is not quantized, and of the computing.
        device: ``cuda``; ``cpu`` to try it out.
    """

    shape: Mapping[str, Any]
    quantization: str
    dtype: str
    device: str


def measure(
    setting: Setting, name: str, given: Sequence[StepRow], *, size: int, steps: int, seed: int
) -> dict[str, Any]:
    """All trainers on one source's rows, in each order of them.

    Args:
        setting: the model.
        name: of the source.
        given: its rows.
        size: rows a step.
        steps: the first is not timed.
        seed: of the plan, the weights and the adapter.
    """

    def load_base(*_: Any, **__: Any) -> Any:
        gc.collect()  # the model of the last training, so that two never stand there
        device = torch.device(setting.device)
        return random_model(dict(setting.shape), setting.dtype, device, setting.quantization, seed)

    with tempfile.TemporaryDirectory() as named, patch.object(models, "load_base", load_base):
        folder = Path(named)
        base = folder / "base"
        config_of(dict(setting.shape)).save_pretrained(base)
        save_tokenizer(rows.SOURCES[name].vocabulary, base)
        found: dict[str, Any] = {}
        for group_by in rows.GROUPS:
            plan = rows.planned(name, given, base, folder, group_by, steps, seed, size)
            update = {key: getattr(setting, key) for key in ("quantization", "dtype", "device")}
            plan = replace(plan, config=plan.config.model_copy(update=update))
            print(f"{name}, group_by: {group_by}", flush=True)
            found[group_by] = _in_order(plan, folder)
    return {
        "shape": dict(setting.shape),
        "quantization": setting.quantization,
        "dtype": setting.dtype,
        "source": name,
        "steps": steps,
        "seed": seed,
        "plans": found,
    }


def _in_order(plan: Prepared, folder: Path) -> dict[str, Any]:
    """All trainers on the steps of a plan."""
    counts, rows_a_step = rows.count(plan), len(plan.plan[0])
    sizes = [size for size in (1, 2, 4, 8, 16, 32, rows_a_step) if rows_a_step % size == 0]
    size, tried = ours.best_batch(plan, folder, sizes)
    floor = floor_of(ours.make_trainer(plan, folder))
    theirs = partial(
        sft.train, folder=folder / "sft", size=size, threads=torch.get_num_threads(), labels_alone=False
    )
    trainings = {
        PACKED: partial(ours.train, plan, folder, packs=True),
        UNPACKED: partial(ours.train, plan, folder, packs=False),
        RECOMPUTED: partial(ours.train, recomputing(plan), folder, packs=True),
        SFT: partial(theirs, plan),
        SFT_RECOMPUTED: partial(theirs, recomputing(plan)),
    }
    found = run_all(trainings, plan, floor, close=float("inf"))
    part = timed(plan)
    tokens = rows.count(part).own
    for each in found:
        if each["first_loss_apart"] > CLOSE:
            raise SystemExit(f"{each['method']}: its first loss differs by {each['first_loss_apart']:.1e}")
        method, taken_s = each["method"], sum(each["seconds"])
        read: Sequence[Pass] = (
            rows.batches_of(part, size)
            if method in (SFT, SFT_RECOMPUTED)
            else floor.passes(part, packs=method != UNPACKED)
        )
        each["tokens_a_second"] = tokens / taken_s
        each["of_rate"] = floor.operations(read) / taken_s / floor.rate
    return {
        "counts": counts._asdict(),
        "padded_over_unique": counts.padded_over_unique,
        "rows_a_step": rows_a_step,
        "matmul_operations_a_second": floor.rate,
        "rivals_batch": size,
        "seconds_by_batch": tried,
        "trainings": found,
    }
