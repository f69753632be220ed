"""What is done beside the steps that a trainer of TRL takes, whatever it trains: the same for all of them.

TRL takes the steps: forward, loss, backward, accumulation, clipping. The order of rows, the learning rate of
each step, checkpoints, the check of gradients and what is shown and logged are ours, so that a run that was
killed goes on to the same bytes (CPU, one thread).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from generation.learn.config import PolicyConfig
from shepherd.console import Progress
from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from verifier import checkpoint
from verifier import model as models
from verifier.adapter import adapter_weights, put_weights
from verifier.optim import learning_rate_at

_LOG_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Saves:
    """Checkpoints of a training: where, every how many optimizer steps, how many are kept, of which plan."""

    folder: Path
    every: int
    keep: int
    plan: str


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimizer step that was taken.

    Attributes:
        step: from 1.
        logs: what TRL logged of it.
        learning_rate: it was taken with.
        tokens_per_s: of this process so far, padding not counted.
        is_time: some seconds have passed since the last step of which this was said, or it is the last step.
    """

    step: int
    logs: Mapping[str, Any]
    learning_rate: float
    tokens_per_s: float
    is_time: bool


class Watch(TrainerCallback):
    """Stands beside a trainer of TRL.

    Args:
        model: base and adapter, before TRL has seen them.
        optimizer: of the adapter.
        config: of the update.
        steps: optimizer steps of the whole training.
        tokens: of each of them, padding not counted.
        saves: of its checkpoints.
        state: what the training goes on from; None from the beginning.
        after_step: called after each step, before its checkpoint.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        config: PolicyConfig,
        *,
        steps: int,
        tokens: Sequence[int],
        saves: Saves,
        state: checkpoint.Checkpoint | None,
        after_step: Callable[[StepLog], None],
    ) -> None:
        self.model, self.optimizer, self.config = model, optimizer, config
        self.steps, self.tokens, self.saves, self.after_step = steps, tokens, saves, after_step
        self.first = self.done = 0 if state is None else state.progress.step
        self.tokens_per_s = 0.0
        self._rng = None if state is None else state.rng
        self._weights = adapter_weights(model)
        self._tokens, self._busy_s, self._logged_s = 0, 0.0, -_LOG_EVERY_S
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def arguments(
        self, *, folder: Path, batch_size: int, accumulation: int, device: str, seed: int
    ) -> dict[str, Any]:
        """What each trainer of TRL is told, by the names of its config."""
        return trl_arguments(
            self.config,
            folder=folder,
            steps=self.steps - self.first,
            batch_size=batch_size,
            accumulation=accumulation,
            device=device,
            seed=seed,
        )

    def optimizers(self) -> tuple[Any, LambdaLR]:
        """The optimizer and its rates, as a trainer takes them."""

        def factor(step: int) -> float:  # asked once more after the last step
            at = min(self.first + step, self.steps - 1)
            return learning_rate_at(at, self.steps, self.config) / self.config.learning_rate

        return self.optimizer, LambdaLR(self.optimizer, factor)

    def take_steps(self, trainer: Any, what: str) -> float:
        """Let the trainer take the steps that are left; gives tokens a second."""
        trainer.remove_callback(PrinterCallback)
        put_weights(self.model, self._weights, dtype=torch.float32)  # on a 4-bit base TRL rounds to bf16
        with progress_bar(what, self.steps, "steps", self.first) as self._bar:
            trainer.train()
        return self.tokens_per_s

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Before the first step after a resume, draw on where the killed run would have."""
        if self._rng is not None:
            checkpoint.restore_random_state(self._rng)
            self._rng = None
        self._started = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A gradient that is not finite ends the run before it reaches the adapter."""
        check_gradients(self.model, f"step {self.done + 1}")

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count."""
        self._busy_s += time.monotonic() - self._started
        self._tokens += self.tokens[self.done]
        self.tokens_per_s = self._tokens / max(self._busy_s, 1e-9)
        self.done = self.first + state.global_step

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """TRL logs every step, after its end: log, measure and write a checkpoint where it is time to."""
        logs: Mapping[str, Any] = more["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        last = self.done == self.steps
        is_time = last or self._busy_s - self._logged_s >= _LOG_EVERY_S
        if is_time:
            self._logged_s = self._busy_s
        rate = learning_rate_at(self.done - 1, self.steps, self.config)
        self.after_step(StepLog(self.done, logs, rate, self.tokens_per_s, is_time))
        if last or self.done % self.saves.every == 0:
            self._save()
        if self._bar is not None:
            self._bar.note(f"loss {float(logs['loss']):.4f}, {self.tokens_per_s:,.0f} tokens/s")
            self._bar.advance()

    def _save(self) -> None:
        state = checkpoint.Checkpoint(
            progress=checkpoint.Progress(step=self.done),
            plan=self.saves.plan,
            adapter=adapter_weights(self.model),
            best_adapter=None,
            optimizer=self.optimizer.state_dict(),
            rng=checkpoint.random_state(),
        )
        checkpoint.save(self.saves.folder, state, self.saves.keep)


def trl_arguments(
    config: PolicyConfig,
    *,
    folder: Path,
    steps: int,
    batch_size: int,
    accumulation: int,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """What each trainer of TRL is told, by the names of its config.

    Args:
        config: of the update.
        folder: TRL asks for one, and writes nothing there.
        steps: optimizer steps that are left.
        batch_size: rows of one forward pass, as the trainer counts them.
        accumulation: forward passes an optimizer step.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of what TRL draws.
    """
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": accumulation,
        "gradient_checkpointing": config.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "max_grad_norm": config.max_grad_norm,
        "bf16": False,  # the base has its dtype, the adapter is fp32, as in train-prm
        "use_cpu": models.pick_device(device).type == "cpu",
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
    }


def on_one_device(arguments: Any) -> None:
    """Keep TRL to the one device that the model is on, however many cards there are to be seen.

    It would split batches over all of them, and count other steps than those that were planned.
    """
    arguments._n_gpu = min(1, arguments.n_gpu)


def check_gradients(model: Any, where: str) -> None:
    """Refuse a gradient that is not finite before it reaches the adapter.

    Raises:
        ShepherdError: which names ``where``.
    """
    gradients = [p.grad for p in models.trainable_parameters(model) if p.grad is not None]
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        raise ShepherdError(
            f"{where}: the loss or its gradient is not finite; lower learning_rate, or use dtype float32 or "
            "bfloat16"
        )


def restore(folder: Path, plan: str, model: Any, optimizer: Any) -> checkpoint.Checkpoint | None:
    """Put adapter and optimizer as the newest checkpoint left them, if there is one."""
    state = checkpoint.latest(folder, plan)
    if state is not None:
        put_weights(model, state.adapter)
        optimizer.load_state_dict(state.optimizer)
    return state
