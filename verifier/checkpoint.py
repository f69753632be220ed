"""Checkpoints that appear whole or not at all.

A checkpoint is a directory written aside and renamed, with a completion mark inside that is written last;
one without its mark is ignored, whatever left it there. It holds all that decides the next step: adapter,
optimizer, random state, place in the plan, early-stopping state.
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, atomic_write

_MARK = "COMPLETE"


@dataclass(slots=True)
class Progress:
    """Where training stands.

    Attributes:
        step: optimizer steps done.
        best: best early-stopping metric so far, larger is better; None before the first evaluation.
        best_step: the step it was seen at.
        evaluations_without_gain: since `best`.
        stopped: early stopping has ended the run.
        busy_s: seconds spent in steps, by all the processes that worked on it.
        peak_memory_bytes: most memory that one of them held.
    """

    step: int = 0
    best: float | None = None
    best_step: int = 0
    evaluations_without_gain: int = 0
    stopped: bool = False
    busy_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(slots=True)
class Checkpoint:
    """All that decides the next step.

    Attributes:
        progress: place in the plan, early stopping.
        plan: hash of rows and order.
        adapter: trained weights by name, a head's own among them.
        best_adapter: those that early stopping would keep.
        optimizer: state of the adapter's optimizer.
        rng: of torch's generators.
        beside: state of the optimizer beside it, if there is one.
        budget: state of AdaLoRA's rank allocator, if there is one.
        more: what else decides the next step, as plain data; for who trains otherwise than on rows.
    """

    progress: Progress
    plan: str
    adapter: dict[str, Tensor]
    best_adapter: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    rng: list[Tensor]
    beside: dict[str, Any] | None = None
    budget: dict[str, Any] | None = None
    more: dict[str, Any] | None = None


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write ``folder/step-NNNNNNNN`` and drop all but the newest `keep`."""
    path = folder / f"step-{checkpoint.progress.step:08d}"
    if _complete(path):
        return
    if path.exists():
        shutil.rmtree(path)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_directory(path) as aside:
        # Into memory first: torch.save tells of a full disk in words that nobody recognises.
        buffer = io.BytesIO()
        torch.save(
            {
                "adapter": checkpoint.adapter,
                "best_adapter": checkpoint.best_adapter,
                "optimizer": checkpoint.optimizer,
                "rng": checkpoint.rng,
                "beside": checkpoint.beside,
                "budget": checkpoint.budget,
                "more": checkpoint.more,
            },
            buffer,
        )
        with atomic_write(aside / "state.pt", "wb") as handle:
            handle.write(buffer.getbuffer())
        with atomic_write(aside / "progress.json") as handle:
            json.dump({"plan": checkpoint.plan, **asdict(checkpoint.progress)}, handle)
        with atomic_write(aside / _MARK) as handle:
            handle.write("")
    for old in sorted(p for p in folder.glob("step-*") if _complete(p))[:-keep]:
        shutil.rmtree(old)


def latest(folder: Path, plan: str) -> Checkpoint | None:
    """The newest complete checkpoint, or None; one made under another plan is refused."""
    complete = sorted(p for p in folder.glob("step-*") if _complete(p))
    if not complete:
        return None
    path = complete[-1]
    progress = json.loads((path / "progress.json").read_text(encoding="utf-8"))
    if progress.pop("plan") != plan:
        raise ShepherdError(
            f"{path}: made from other rows, another tokenizer or another order; the data has changed since; "
            "start a new run instead of resuming"
        )
    state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    return Checkpoint(Progress(**progress), plan, **state)


def random_state() -> list[Tensor]:
    """State of torch's generators: CPU, then each CUDA device."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def restore_random_state(states: list[Tensor]) -> None:
    """Undo `random_state`."""
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


def _complete(path: Path) -> bool:
    return (path / _MARK).is_file()
