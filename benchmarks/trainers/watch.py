"""What a training is asked for: the loss of every step, its seconds, and the most bytes beyond the weights.

Nothing of this project is imported, so that it runs where only a rival is installed.
"""

from __future__ import annotations

import gc
import time
from contextlib import AbstractContextManager
from typing import Any, NamedTuple


class Watched(NamedTuple):
    """One training.

    Attributes:
        losses: a step: the mean over its supervised positions.
        seconds: a step; the first is not among them, whose tensors are counted.
        peak_bytes: the most that tensors held in the first step, and the optimizer's state beside it.
    """

    losses: list[float]
    seconds: list[float]
    peak_bytes: int


class Watch:
    """Counts bytes in the first step and seconds in the others.

    A mode that sees every operation takes time of its own, so no step is both counted and timed. The
    optimizer makes its state at the end of its first step; from then on it is beside all else.

    Args:
        allocations: the counter, a context manager with a ``peak``.
    """

    def __init__(self, allocations: AbstractContextManager[Any]) -> None:
        self.allocations: Any = allocations
        self.seconds: list[float] = []
        self._started: float | None = None
        self._counting = False
        self._steps = 0

    def begin(self) -> None:
        """A step begins."""
        if self._steps == 0:
            gc.collect()
            self._counting = True
            self.allocations.__enter__()
        else:
            self._started = time.perf_counter()

    def end(self) -> None:
        """It has ended, the optimizer's part included."""
        if self._counting:
            self._counting = False
            self.allocations.__exit__(None, None, None)
        elif self._started is not None:
            self.seconds.append(time.perf_counter() - self._started)
        self._steps += 1

    def found(self, losses: list[float], optimizer_bytes: int) -> Watched:
        """All that was seen."""
        return Watched(losses, self.seconds, self.allocations.peak + optimizer_bytes)


class CardWatch:
    """Seconds of all steps but the first, and the most bytes of a card's memory, weights among them.

    The card is waited for before and after each step.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0
        self._steps = 0

    def begin(self) -> None:
        """A step begins."""
        import torch

        torch.cuda.synchronize()
        if self._steps == 0:
            gc.collect()
            torch.cuda.reset_peak_memory_stats()
        self._started = time.perf_counter()

    def end(self) -> None:
        """It has ended on the card."""
        import torch

        torch.cuda.synchronize()
        if self._steps > 0:
            self.seconds.append(time.perf_counter() - self._started)
        self._steps += 1

    def found(self, losses: list[float], optimizer_bytes: int) -> Watched:
        """All that was seen; the optimizer's state is on the card from the first step on."""
        import torch

        return Watched(losses, self.seconds, torch.cuda.max_memory_allocated())


def state_bytes(optimizer: Any) -> int:
    """Bytes of an optimizer's state."""
    import torch

    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    return sum(
        value.numel() * value.element_size()
        for state in inner.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def watched_trainer(trainer: type[Any], watch: Watch | CardWatch, losses: list[float]) -> type[Any]:
    """A trainer of transformers that tells `watch` where its steps begin and end, and adds up its losses.

    The loss that `training_step` gives is that of one batch, scaled so that a step's batches add up; what is
    logged would be rounded.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Steps(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            losses.append(0.0)
            watch.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.end()

    class WatchedTrainer(trainer):  # type: ignore[misc]  # its base is an argument
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.remove_callback(PrinterCallback)
            self.add_callback(Steps())

        def training_step(self, *arguments: Any, **more: Any) -> Any:
            loss = super().training_step(*arguments, **more)
            losses[-1] += float(loss)
            return loss

    return WatchedTrainer


def arguments(folder: str, rate: float, size: int, rows_a_step: int, steps: int, seed: int) -> dict[str, Any]:
    """What a trainer of transformers is told so that it does what ours does, and nothing beside it.

    The rows come in our order, the batches of a step sorted by length; no checkpoint is written.

    Args:
        folder: for what it must write.
        rate: constant learning rate of AdamW.
        size: rows in a batch; it must divide `rows_a_step`.
        rows_a_step: rows an optimizer step.
        steps: optimizer steps.
        seed: of the trainer.
    """
    return {
        "output_dir": folder,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": rows_a_step // size,
        "max_steps": steps,
        "learning_rate": rate,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
    }
