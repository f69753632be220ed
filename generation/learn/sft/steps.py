"""The steps of a fine-tuning, taken by TRL's SFTTrainer, and what is done beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from generation.learn.sft.config import SftConfig
from generation.learn.sft.heldout import heldout_loss
from generation.learn.sft.prepare import Prepared
from generation.learn.sft.rows import order_digest
from shepherd.console import Progress
from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from shepherd.runs import Run
from verifier import checkpoint
from verifier import model as models
from verifier.adapter import adapter_weights, put_weights
from verifier.optim import learning_rate_at

_LOG_EVERY_S = 5.0


def take_steps(
    prepared: Prepared, run: Run, model: Any, optimizer: Any, state: checkpoint.Checkpoint | None
) -> float:
    """Let TRL take the steps that are left.

    Args:
        prepared: rows and order.
        run: gets metrics and checkpoints.
        model: base with its adapter.
        optimizer: of the adapter.
        state: what the run goes on from; None from the beginning.

    Returns:
        Tokens a second, padding not counted.
    """
    import datasets
    from trl import SFTConfig, SFTTrainer

    class Trainer(SFTTrainer):
        """TRL's trainer without its telemetry."""

        def _send_telemetry(self) -> None:
            pass

    config, steps, done = prepared.config, prepared.steps, 0 if state is None else state.progress.step
    rows = prepared.train.rows
    tokens = {"input_ids": [list(row.ids) for row in rows], "labels": [row.labels for row in rows]}
    left = prepared.order[done * config.batch_size * config.accumulation :]
    watch = _Watch(prepared, run, model, optimizer, state)
    weights = adapter_weights(model)
    arguments = SFTConfig(
        output_dir=str(run.path),
        max_steps=steps - done,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        max_grad_norm=config.max_grad_norm,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},  # labels are given
        train_sampling_strategy="sequential",  # the order is
        bf16=False,  # the base has its dtype, the adapter is fp32, as in train-prm
        use_cpu=models.pick_device(config.device).type == "cpu",
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(tokens).select(left.tolist()),
        processing_class=prepared.tokenizer,
        optimizers=(optimizer, LambdaLR(optimizer, _rate_from(config, steps, done))),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    put_weights(model, weights, dtype=torch.float32)  # on a 4-bit base TRL rounds the adapter to bf16
    with progress_bar("fine-tuning", steps, "steps", done) as watch.bar:
        trainer.train()
    return watch.tokens_per_s


def _rate_from(config: SftConfig, steps: int, done: int) -> Callable[[int], float]:
    """Learning rate of the steps after `done`, as a factor; asked once more after the last step."""
    return lambda step: learning_rate_at(min(done + step, steps - 1), steps, config) / config.learning_rate


class _Watch(TrainerCallback):
    """What is done beside TRL's steps: metrics, the bar, evaluations, checkpoints."""

    def __init__(
        self,
        prepared: Prepared,
        run: Run,
        model: Any,
        optimizer: Any,
        state: checkpoint.Checkpoint | None,
    ) -> None:
        self.prepared, self.run, self.model, self.optimizer = prepared, run, model, optimizer
        self.bar: Progress | None = None
        self.first = self.done = 0 if state is None else state.progress.step
        self.rng = None if state is None else state.rng
        self.plan = order_digest(prepared.train.rows, prepared.order)
        rows = prepared.config.batch_size * prepared.config.accumulation
        lengths = prepared.train.lengths[prepared.order]
        self.tokens = [int(lengths[at : at + rows].sum()) for at in range(0, len(lengths), rows)]
        self.tokens_per_s, self._tokens, self._busy_s, self._logged_s = 0.0, 0, 0.0, -_LOG_EVERY_S
        self._started = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Before the first step after a resume, draw on where the killed run would have."""
        if self.rng is not None:
            checkpoint.restore_random_state(self.rng)
            self.rng = None
        self._started = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A gradient that is not finite ends the run before it reaches the adapter."""
        gradients = [p.grad for p in models.trainable_parameters(self.model) if p.grad is not None]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise ShepherdError(
                f"step {self.done + 1}: the loss or its gradient is not finite; lower learning_rate, or use "
                "dtype float32 or bfloat16"
            )

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """TRL logs every step, after its end."""
        logs: Mapping[str, Any] = more["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        loss, steps = float(logs["loss"]), self.prepared.steps
        if self.bar is not None:
            self.bar.note(f"loss {loss:.4f}, {self.tokens_per_s:,.0f} tokens/s")
        if self.done == steps or self._busy_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = self._busy_s
            self.run.metric(
                step=self.done,
                loss=loss,
                learning_rate=learning_rate_at(self.done - 1, steps, self.prepared.config),
                gradient_norm=float(logs["grad_norm"]),
                tokens_per_s=round(self.tokens_per_s),
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Evaluate and write a checkpoint where it is time to."""
        self._busy_s += time.monotonic() - self._started
        self._tokens += self.tokens[self.done]
        self.tokens_per_s = self._tokens / max(self._busy_s, 1e-9)
        self.done = self.first + state.global_step
        last, every = self.done == self.prepared.steps, self.prepared.config.eval_every
        if every is not None and self.done % every == 0 and not last:
            self._evaluate()
        if last or self.done % self.prepared.checkpoint_every == 0:
            self._checkpoint()
        if last:
            self._evaluate()
        if self.bar is not None:
            self.bar.advance()

    def _evaluate(self) -> None:
        loss = heldout_loss(self.model, self.prepared.heldout)
        if loss is not None:
            self.run.metric(step=self.done, heldout_loss=loss)
            self.run.log(f"step {self.done}: held-out loss {loss:.4f} nats a token")

    def _checkpoint(self) -> None:
        state = checkpoint.Checkpoint(
            progress=checkpoint.Progress(step=self.done),
            plan=self.plan,
            adapter=adapter_weights(self.model),
            best_adapter=None,
            optimizer=self.optimizer.state_dict(),
            rng=checkpoint.random_state(),
        )
        checkpoint.save(self.run.path / "checkpoints", state, self.prepared.config.keep_checkpoints)
