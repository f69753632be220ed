"""`shepherd sft`: fine-tune a generator's adapter on right solutions, with TRL's SFTTrainer.

    solutions -> held out by question -> tokens -> order of rows -> TRL's steps -> adapter

TRL takes the steps (forward, loss on the labels, backward, accumulation, clipping). What decides a result is
fixed before: rows and labels as tokens, their order, the learning rate of each step. So a run that was
killed hands TRL the rest of the order with the state of its last checkpoint, and writes the same bytes (CPU,
one thread). Checkpoints are those of `verifier.checkpoint`: whole or not at all.

Left out on purpose: packing (a row sees no other), several GPUs, training of all weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from generation.learn.config import SftConfig
from generation.learn.prepare import Prepared
from generation.learn.rows import IGNORED, EncodedSolutions, order_digest
from shepherd.console import Progress
from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory
from shepherd.runs import Run
from verifier import checkpoint
from verifier import model as models
from verifier.adapter import write_adapter
from verifier.optim import learning_rate_at, make_optimizer

ADAPTER = "adapter"
_EVAL_TOKENS = 8192
_LOG_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class SftResult:
    """What a fine-tuning gave: the adapter's folder; mean held-out loss (nats a token) before and after."""

    folder: Path
    steps: int
    tokens_per_s: float
    heldout_loss_before: float | None
    heldout_loss: float | None
    counts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "folder": str(self.folder)}


def train(prepared: Prepared, run: Run) -> SftResult:
    """Train an adapter into ``run.path / "adapter"``, from the run's newest checkpoint if it has one."""
    config = prepared.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    for line in prepared.lines():
        run.log(line)
    model, optimizer, state = _load(prepared, run)
    before = state.progress.best if state is not None else heldout_loss(model, prepared.heldout)
    if state is None and before is not None:
        run.metric(step=0, heldout_loss=before)
    done = 0 if state is None else state.progress.step
    watch = _Watch(prepared, run, model, optimizer, before, done, None if state is None else state.rng)
    if done < prepared.steps:
        with progress_bar("fine-tuning", prepared.steps, "steps", done) as bar:
            watch.bar = bar
            _take_steps(prepared, run, model, optimizer, watch)
    folder = run.path / ADAPTER
    with atomic_directory(folder) as aside:
        write_adapter(aside, model, config.base)
        prepared.tokenizer.save_pretrained(aside)
    after = heldout_loss(model, prepared.heldout)
    run.log(f"adapter written to {folder}; held-out loss {before} before, {after} after")
    return SftResult(folder, prepared.steps, watch.tokens_per_s, before, after, prepared.counts())


def _load(prepared: Prepared, run: Run) -> tuple[Any, Any, checkpoint.Checkpoint | None]:
    """The base with its adapter, and the optimizer, as the newest checkpoint left them."""
    config = prepared.config
    base = models.load_base(
        config.base,
        quantization=config.quantization,
        dtype=config.dtype,
        device=models.pick_device(config.device),
    )
    context = int(getattr(base.config, "max_position_embeddings", 1 << 30))
    if (longest := int(prepared.train.lengths.max())) > context:
        raise ShepherdError(
            f"max_length: the longest row has {longest} tokens, {config.base} reads at most {context}; use "
            f"--set max_length={context}"
        )
    model = models.add_lora(base, config.lora, config.seed)
    run.log(models.adapted_share(model))
    optimizer = make_optimizer(config, models.trainable_parameters(model))
    state = checkpoint.latest(run.path / "checkpoints", order_digest(prepared.train.rows, prepared.order))
    if state is not None:
        _put(model, state.adapter)
        optimizer.load_state_dict(state.optimizer)
        run.log(f"resumed at step {state.progress.step} of {prepared.steps}")
    return model, optimizer, state


def _take_steps(prepared: Prepared, run: Run, model: Any, optimizer: Any, watch: _Watch) -> None:
    """Let TRL take the steps that are left."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    class Trainer(SFTTrainer):
        """TRL's trainer without its telemetry."""

        def _send_telemetry(self) -> None:
            pass

    config, steps, done = prepared.config, prepared.steps, watch.done
    rows = prepared.train.rows
    tokens = {"input_ids": [list(row.ids) for row in rows], "labels": [row.labels for row in rows]}
    left = prepared.order[done * config.batch_size * config.accumulation :]
    adapter = _adapter(model)
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
    _put(model, adapter, dtype=torch.float32)  # on a 4-bit base TRL rounds the adapter to bf16
    trainer.train()


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
        before: float | None,
        done: int,
        rng: list[Tensor] | None,
    ) -> None:
        self.prepared, self.run, self.model, self.optimizer = prepared, run, model, optimizer
        self.before, self.done, self.first, self.rng = before, done, done, rng
        self.bar: Progress | None = None
        self.plan = order_digest(prepared.train.rows, prepared.order)
        self.tokens_per_s, self._tokens, self._busy_s, self._logged_s = 0.0, 0, 0.0, -_LOG_EVERY_S
        self._started = time.monotonic()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Before the first step after a resume, draw on where the killed run would have."""
        if self.rng is not None:
            checkpoint.restore_random_state(self.rng)
            self.rng = None
        self._started = time.monotonic()

    def on_log(self, _: Any, state: Any, __: Any, logs: Mapping[str, Any] | None = None, **___: Any) -> None:
        """TRL logs each step; what is not finite ends the run."""
        if logs is None or "loss" not in logs:
            return
        self._busy_s += time.monotonic() - self._started
        step, config = self.first + state.global_step, self.prepared.config
        rows = config.batch_size * config.accumulation
        self._tokens += int(
            self.prepared.train.lengths[self.prepared.order[(step - 1) * rows : step * rows]].sum()
        )
        self.tokens_per_s = self._tokens / max(self._busy_s, 1e-9)
        loss, norm = float(logs["loss"]), float(logs["grad_norm"])
        if not torch.isfinite(torch.tensor([loss, norm])).all():
            raise ShepherdError(
                f"step {step}: the loss is {loss} and its gradient's norm {norm}; lower learning_rate, or "
                "use dtype float32 or bfloat16"
            )
        if self.bar is not None:
            self.bar.note(f"loss {loss:.4f}, {self.tokens_per_s:,.0f} tokens/s")
        if step == self.prepared.steps or self._busy_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = self._busy_s
            self.run.metric(
                step=step,
                loss=loss,
                learning_rate=learning_rate_at(step - 1, self.prepared.steps, config),
                gradient_norm=norm,
                tokens_per_s=round(self.tokens_per_s),
            )

    def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
        """Evaluate and write a checkpoint where it is time to."""
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
            progress=checkpoint.Progress(step=self.done, best=self.before),
            plan=self.plan,
            adapter=_adapter(self.model),
            best_adapter=None,
            optimizer=self.optimizer.state_dict(),
            rng=checkpoint.random_state(),
        )
        checkpoint.save(self.run.path / "checkpoints", state, self.prepared.config.keep_checkpoints)


@torch.no_grad()
def heldout_loss(model: Any, rows: EncodedSolutions) -> float | None:
    """Mean loss (nats) a token of the solutions and their ends; None where nothing is held out."""
    if not rows.rows:
        return None
    was_training = model.training
    model.eval()
    device = model.get_input_embeddings().weight.device
    total, count = 0.0, 0
    order = sorted(rows.rows, key=lambda row: -len(row.ids))
    while order:
        size = max(1, _EVAL_TOKENS // len(order[0].ids))
        part, order = order[:size], order[size:]
        width = len(part[0].ids)
        ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in part], device=device)
        labels = torch.tensor(
            [row.labels + [IGNORED] * (width - len(row.ids)) for row in part], device=device
        )
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        total += float(loss)
        count += sum(len(row.ids) - row.start for row in part)
    model.train(was_training)
    return total / count


def _adapter(model: Any) -> dict[str, Tensor]:
    """The adapter's weights, copied."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def _put(model: Any, adapter: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Give the adapter these weights, and `dtype` if there is one."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data if dtype is None else parameter.data.to(dtype)
            parameter.copy_(adapter[name])
