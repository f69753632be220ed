"""Fine-tune the verifier: one plain loop that can be read from top to bottom.

    rows -> held out by question -> tokens -> plan of batches -> steps -> adapter

The loss stands at the tags alone: the body reads whole solutions, the head only their tags. Everything drawn
is drawn from the seed before it is needed, so that a run killed anywhere and resumed writes the same bytes
(CPU, one thread).

Left out on purpose: mixed-precision autocast, several GPUs, full fine-tuning.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from verifier import checkpoint, folder, heldout
from verifier import model as models
from verifier.batches import (
    EncodedRows,
    collate,
    encode_rows,
    make_plan,
    plan_digest,
    shuffle_labels,
)
from verifier.card import write_card
from verifier.config import TrainPrmConfig
from verifier.loss import step_losses, tag_log_probabilities
from verifier.optim import learning_rate_at, make_optimizer
from verifier.rows import RowCounts, read_rows
from verifier.tags import TagContract, Template, resolve

_LOG_EVERY_S = 5.0


class TrainingRun(Protocol):
    """What training needs of `shepherd.runs.Run`."""

    @property
    def path(self) -> Path: ...

    def log(self, message: str) -> None: ...

    def metric(self, **values: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is fixed before the first step."""

    config: TrainPrmConfig
    tokenizer: Any
    contract: TagContract
    read: RowCounts
    train: EncodedRows
    heldout: EncodedRows
    plan: list[NDArray[np.int64]]
    steps: int

    @property
    def pad_id(self) -> int:
        """Any token will do: padding is never read."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def eval_every(self) -> int:
        """Optimizer steps between evaluations; one an epoch unless told."""
        an_epoch = (
            max(1, round(self.steps / self.config.epochs)) if self.config.max_steps is None else self.steps
        )
        return self.config.eval_every or min(an_epoch, self.steps)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave."""

    folder: Path
    verifier_id: str
    steps: int
    best_step: int
    tokens_per_s: float
    metrics: dict[str, Any]


def prepare(config: TrainPrmConfig) -> Prepared:
    """Read, split, encode and plan; no model is loaded."""
    rows, counts = read_rows(
        config.data, on_bad_row=config.on_bad_row, dedup=config.dedup, limit=config.limit
    )
    if config.heldout is None:
        train, held = heldout.split_by_question(rows, config.eval_fraction, config.seed, config.eval_limit)
    else:
        other, _ = read_rows(config.heldout, on_bad_row=config.on_bad_row)
        held = heldout.first_questions(other, config.eval_limit)
        seen = {row.question.strip() for row in held}
        train = [row for row in rows if row.question.strip() not in seen]
    if config.control == "shuffled_labels":
        train = shuffle_labels(train, config.seed)
    tokenizer = models.load_tokenizer(config.base)
    contract = resolve(tokenizer, Template(**config.template.model_dump()))
    encoded = encode_rows(train, tokenizer, contract, config.max_length)
    plan = make_plan(
        encoded.lengths,
        epochs=config.epochs,
        batch_tokens=config.batch_tokens,
        batch_solutions=config.batch_solutions,
        seed=config.seed,
    )
    steps = -(-len(plan) // config.accumulation)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    return Prepared(
        config=config,
        tokenizer=tokenizer,
        contract=contract,
        read=counts,
        train=encoded,
        heldout=encode_rows(held, tokenizer, contract, config.max_length),
        plan=plan[: steps * config.accumulation],
        steps=steps,
    )


def train(config: TrainPrmConfig, run: TrainingRun, prepared: Prepared | None = None) -> TrainResult:
    """Train a verifier into ``run.path / "verifier"``, continuing from the run's newest checkpoint if it has one.

    Args:
        config: what to train.
        run: where checkpoints, metrics and the verifier go.
        prepared: the result of `prepare(config)`, if it is at hand.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    prepared = prepared or prepare(config)
    trainer = Trainer(prepared, run)
    trainer.restore()
    trainer.fit()
    return trainer.finish()


class Trainer:
    """Model, optimizer and progress of one training."""

    def __init__(self, prepared: Prepared, run: TrainingRun) -> None:
        self.prepared, self.run, self.config = prepared, run, prepared.config
        config = self.config
        device = models.pick_device(config.device)
        base = models.load_base(
            config.base, quantization=config.quantization, dtype=config.dtype, device=device
        )
        self.model = models.add_lora(base, config.lora, config.seed)
        if config.gradient_checkpointing:
            models.enable_gradient_checkpointing(self.model)
        self.reader = models.TagReader(self.model, prepared.contract)
        self._check_reader()
        self.named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(config, list(self.named.values()))
        self.class_weights = _class_weights(prepared.train, config.class_weighting)
        self.progress = checkpoint.Progress()
        self.best_adapter: dict[str, torch.Tensor] | None = None
        self.plan = plan_digest(prepared.train, prepared.plan)
        self.metrics: dict[str, Any] = {}
        self.tokens_per_s = 0.0

    @property
    def checkpoints(self) -> Path:
        """Where this run keeps its checkpoints."""
        return self.run.path / "checkpoints"

    def restore(self) -> None:
        """Continue from the newest complete checkpoint, if there is one."""
        found = checkpoint.latest(self.checkpoints, self.plan)
        if found is None:
            return
        self._put(found.adapter)
        self.optimizer.load_state_dict(found.optimizer)
        checkpoint.restore_random_state(found.rng)
        self.progress, self.best_adapter = found.progress, found.best_adapter
        self.run.log(f"resumed at step {self.progress.step} of {self.prepared.steps}")

    def fit(self) -> None:
        """Run the steps that are left."""
        every = self.config.checkpoint_every or self.prepared.eval_every
        self.model.train()
        seen, since, started = 0, 0.0, time.monotonic()
        with progress_bar("training", self.prepared.steps, "steps", self.progress.step) as bar:
            while self.progress.step < self.prepared.steps and not self.progress.stopped:
                step = self.progress.step
                loss, tokens, rate = self._step(step)
                self.progress.step = step + 1
                seen += tokens
                elapsed = time.monotonic() - started
                self.tokens_per_s = seen / elapsed
                last = self.progress.step == self.prepared.steps
                if elapsed - since > _LOG_EVERY_S or step == 0 or last:
                    since = elapsed
                    values = {"loss": loss, "learning_rate": rate, "tokens_per_s": round(self.tokens_per_s)}
                    self.run.metric(step=self.progress.step, **values)
                bar.note(f"loss {loss:.4f}, {self.tokens_per_s:,.0f} tokens/s")
                bar.advance()
                if last or self.progress.step % self.prepared.eval_every == 0:
                    self._evaluate()
                if last or self.progress.stopped or self.progress.step % every == 0:
                    self._checkpoint()

    def finish(self) -> TrainResult:
        """Take the best adapter if early stopping asked for it, and write the verifier."""
        if self.best_adapter is not None:
            self._put(self.best_adapter)
        if self.prepared.heldout.rows:
            self.metrics = self._held_out_metrics()
        config, prepared = self.config, self.prepared
        path = self.run.path / "verifier"
        description = {
            "base": config.base,
            "base_fingerprint": models.base_fingerprint(self.reader),
            "quantization": config.quantization,
            "dtype": config.dtype,
            "max_length": config.max_length,
            "contract": prepared.contract,
        }
        card = write_card(config, prepared.read, prepared.train.counts(), self.metrics)
        written = folder.save(path, self.model, prepared.tokenizer, description, card)
        self.run.log(f"verifier {written.id} written to {path}")
        return TrainResult(
            folder=path,
            verifier_id=written.id,
            steps=self.progress.step,
            best_step=self.progress.best_step or self.progress.step,
            tokens_per_s=self.tokens_per_s,
            metrics=self.metrics,
        )

    def _step(self, step: int) -> tuple[float, int, float]:
        """One optimizer step over its batches; the mean is over all their supervised tags together."""
        rate = learning_rate_at(step, self.prepared.steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        passes = self.config.accumulation
        groups = self.prepared.plan[step * passes : (step + 1) * passes]
        rows = [[self.prepared.train.rows[i] for i in group] for group in groups]
        batches = [collate(part, self.prepared.pad_id) for part in rows]
        tags = sum(len(batch.targets) for batch in batches)
        total = 0.0
        for batch in batches:
            hidden = self.reader.hidden(batch.ids.to(self.reader.device), batch.at.to(self.reader.device))
            logs = tag_log_probabilities(self.reader, hidden, self.config.loss)
            loss = step_losses(logs, batch.targets.to(self.reader.device), self.class_weights).sum() / tags
            loss.backward()
            total += float(loss.detach())
        if not np.isfinite(total):
            raise ShepherdError(
                f"step {step + 1}: the loss is {total}; lower learning_rate, or use dtype float32 or bfloat16"
            )
        torch.nn.utils.clip_grad_norm_(list(self.named.values()), self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, sum(len(row.ids) for part in rows for row in part), rate

    def _evaluate(self) -> None:
        if not self.prepared.heldout.rows:
            return
        self.metrics = self._held_out_metrics()
        self.run.metric(step=self.progress.step, heldout=self.metrics)
        self.run.log(f"step {self.progress.step}: held out {_line(self.metrics)}")
        stopping = self.config.early_stopping
        if stopping is None:
            return
        value = self.metrics.get(stopping.metric)
        if value is None:
            raise ShepherdError(
                f"early_stopping.metric: {stopping.metric} is not defined on these held-out rows; "
                "hold out more questions, or use --set early_stopping.metric=loss"
            )
        gain = -value if stopping.metric == "loss" else value
        progress = self.progress
        if progress.best is None or gain > progress.best:
            progress.best, progress.best_step, progress.evaluations_without_gain = gain, progress.step, 0
            self.best_adapter = self._adapter()
        else:
            progress.evaluations_without_gain += 1
            progress.stopped = progress.evaluations_without_gain >= stopping.patience

    def _held_out_metrics(self) -> dict[str, Any]:
        self.model.eval()
        result = heldout.evaluate(
            self.reader,
            self.prepared.heldout,
            loss=self.config.loss,
            batch_tokens=self.config.batch_tokens,
            pad_id=self.prepared.pad_id,
        )
        self.model.train()
        return {
            "loss": result.loss,
            **heldout.measure(self.prepared.heldout, result.scores, self.config.seed),
        }

    def _checkpoint(self) -> None:
        state = checkpoint.Checkpoint(
            progress=self.progress,
            plan=self.plan,
            adapter=self._adapter(),
            best_adapter=self.best_adapter,
            optimizer=self.optimizer.state_dict(),
            rng=checkpoint.random_state(),
        )
        checkpoint.save(self.checkpoints, state, self.config.keep_checkpoints)

    def _adapter(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.named.items()}

    @torch.no_grad()
    def _put(self, adapter: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.named.items():
            parameter.copy_(adapter[name])

    def _check_reader(self) -> None:
        batch = collate(self.prepared.train.rows[:1], self.prepared.pad_id)
        self.model.eval()
        self.reader.check(batch.ids.to(self.reader.device), batch.at.to(self.reader.device))


def _class_weights(rows: EncodedRows, weighting: str) -> tuple[float, float]:
    """Weights of good and bad; ``balanced`` gives both classes the same total weight, 1 on average."""
    if weighting == "none":
        return 1.0, 1.0
    labels = np.concatenate([row.labels for row in rows.rows])
    labels = labels[np.isfinite(labels)].astype(np.float64)
    good, bad = float(labels.sum()), float((1 - labels).sum())
    if min(good, bad) == 0:
        raise ShepherdError("class_weighting: balanced needs steps of both classes; all labels are alike")
    return len(labels) / (2 * good), len(labels) / (2 * bad)


def _line(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4f}" for key, value in metrics.items() if isinstance(value, float))
