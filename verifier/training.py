"""Fine-tune the verifier: one plain loop that can be read from top to bottom.

    rows -> held out by question -> tokens -> plan of batches -> steps -> adapter

The loss stands at the tags alone: the body reads whole solutions, the head only their tags. Everything drawn
is drawn from the seed before it is needed, so that a run killed anywhere and resumed writes the same bytes
(CPU, one thread).

Left out on purpose: mixed-precision autocast (bf16 attention is slower than fp32 on CPU), several GPUs,
full fine-tuning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from verifier import checkpoint, folder, heldout
from verifier import model as models
from verifier.batches import EncodedRow, EncodedRows, collate, plan_digest
from verifier.card import write_card
from verifier.config import TrainPrmConfig
from verifier.loss import step_losses, tag_log_probabilities
from verifier.optim import learning_rate_at, make_optimizer
from verifier.prepare import Prepared, prepare
from verifier.tensorboard import TensorBoard

_LOG_EVERY_S = 5.0


class TrainingRun(Protocol):
    """What training needs of `shepherd.runs.Run`."""

    path: Path

    def log(self, message: str) -> None:
        """Write to the run's log."""

    def metric(self, **values: Any) -> None:
        """Append to the run's metrics."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave: the verifier's folder and id, and how good it is on held-out questions."""

    folder: Path
    verifier_id: str
    steps: int
    best_step: int
    tokens_per_s: float
    metrics: dict[str, Any]
    counts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "folder": str(self.folder)}


def train(config: TrainPrmConfig, run: TrainingRun, prepared: Prepared | None = None) -> TrainResult:
    """Train a verifier into ``run.path / "verifier"``, from the run's newest checkpoint if it has one.

    Args:
        config: what to train.
        run: where checkpoints, metrics and the verifier go.
        prepared: the result of `prepare(config)`, if it is at hand.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    prepared = prepared or prepare(config)
    for line in prepared.lines():
        run.log(line)
    trainer = Trainer(prepared, run)
    trainer.restore()
    trainer.fit()
    return trainer.finish()


class Trainer:
    """Model, optimizer and progress of one training."""

    def __init__(self, prepared: Prepared, run: TrainingRun) -> None:
        self.prepared, self.run, self.config = prepared, run, prepared.config
        config = self.config
        base = models.load_base(
            config.base,
            quantization=config.quantization,
            dtype=config.dtype,
            device=models.pick_device(config.device),
            trust_remote_code=config.trust_remote_code,
        )
        self.model = models.add_lora(base, config.lora, config.seed)
        run.log(models.adapted_share(self.model))
        if config.gradient_checkpointing:
            models.enable_gradient_checkpointing(self.model)
        self.reader = models.read_labels(self.model, prepared.contract)
        self._check_reader()
        self.named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(config, list(self.named.values()))
        self.class_weights = class_weights(prepared.train, config.class_weighting)
        self.progress = checkpoint.Progress()
        self.best_adapter: dict[str, torch.Tensor] | None = None
        self.plan = plan_digest(prepared.train, prepared.plan)
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
        """Run the steps that are left, evaluating and writing checkpoints on the way."""
        steps, progress = self.prepared.steps, self.progress
        eval_every = self.prepared.eval_every
        checkpoint_every = self.prepared.checkpoint_every
        seen, busy_s, logged_s = 0, 0.0, -_LOG_EVERY_S
        self.model.train()
        board = TensorBoard(self.run.path / "tensorboard" if self.config.tensorboard else None)
        with board, progress_bar("training", steps, "steps", progress.step) as bar:
            while progress.step < steps and not progress.stopped:
                started = time.monotonic()
                values = self._step(progress.step)
                progress.step += 1
                busy_s += time.monotonic() - started
                seen += values.pop("tokens")
                self.tokens_per_s = seen / busy_s
                last = progress.step == steps
                bar.note(f"loss {values['loss']:.4f}, {self.tokens_per_s:,.0f} tokens/s")
                bar.advance()
                if last or busy_s - logged_s >= _LOG_EVERY_S:
                    logged_s = busy_s
                    values["tokens_per_s"] = round(self.tokens_per_s)
                    self.run.metric(step=progress.step, **values)
                    board.add("train", values, progress.step)
                if self.prepared.heldout.rows and (last or progress.step % eval_every == 0):
                    metrics = self._held_out_metrics()
                    self.run.metric(step=progress.step, heldout=metrics)
                    self.run.log(f"step {progress.step}: held out: {one_line(metrics)}")
                    board.add("heldout", metrics, progress.step)
                    self._watch(metrics)
                if last or progress.stopped or progress.step % checkpoint_every == 0:
                    self._checkpoint()
        if busy_s:
            self.run.log(f"{seen:,} tokens in {busy_s:.1f} s: {self.tokens_per_s:,.0f} tokens/s")

    def finish(self) -> TrainResult:
        """Take the best adapter if early stopping kept one, measure it, and write the verifier."""
        config, prepared = self.config, self.prepared
        if self.best_adapter is not None:
            self._put(self.best_adapter)
        metrics = self._held_out_metrics() if prepared.heldout.rows else {}
        description = {
            "base": _lasting_name(config.base),
            "base_fingerprint": models.base_fingerprint(self.model, prepared.contract),
            "quantization": config.quantization,
            "dtype": config.dtype,
            "max_length": config.max_length,
            "contract": prepared.contract,
        }
        best = self.progress.best_step or self.progress.step
        card = write_card(config, prepared, metrics, best)
        path = self.run.path / "verifier"
        written = folder.save(path, self.model, prepared.tokenizer, description, card)
        self.run.log(f"verifier {written.id} written to {path}")
        return TrainResult(
            folder=path,
            verifier_id=written.id,
            steps=self.progress.step,
            best_step=best,
            tokens_per_s=self.tokens_per_s,
            metrics=metrics,
            counts=prepared.counts(),
        )

    def _step(self, step: int) -> dict[str, Any]:
        """One optimizer step over its forward passes; the mean is over all their supervised tags together."""
        config, reader = self.config, self.reader
        rate = learning_rate_at(step, self.prepared.steps, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        groups = self.prepared.plan[step * config.accumulation : (step + 1) * config.accumulation]
        parts: list[list[EncodedRow]] = [[self.prepared.train.rows[i] for i in group] for group in groups]
        batches = [collate(part, self.prepared.pad_id) for part in parts]
        tags = sum(len(batch.targets) for batch in batches)
        total = 0.0
        for batch in batches:
            hidden = reader.hidden(batch.ids.to(reader.device), batch.at.to(reader.device))
            logs = tag_log_probabilities(reader, hidden, config.loss)
            loss = step_losses(logs, batch.targets.to(reader.device), self.class_weights).sum() / tags
            loss.backward()
            total += float(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_(list(self.named.values()), config.max_grad_norm)
        if not np.isfinite(total) or not torch.isfinite(norm):
            raise ShepherdError(
                f"step {step + 1}: the loss is {total} and its gradient's norm {float(norm)}; "
                "lower learning_rate, or use dtype float32 or bfloat16"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(len(row.ids) for part in parts for row in part)
        return {"loss": total, "learning_rate": rate, "gradient_norm": float(norm), "tokens": tokens}

    def _watch(self, metrics: Mapping[str, Any]) -> None:
        """Early stopping: keep the best adapter, stop after `patience` evaluations without a better one."""
        stopping, progress = self.config.early_stopping, self.progress
        if stopping is None:
            return
        value = metrics["loss"] if stopping.metric == "loss" else metrics[stopping.metric]["value"]
        if value is None:
            raise ShepherdError(
                f"early_stopping.metric: {stopping.metric} has no value on these held-out rows; "
                "hold out more questions, or use --set early_stopping.metric=loss"
            )
        gain = -value if stopping.metric == "loss" else value
        if progress.best is None or gain > progress.best:
            progress.best, progress.best_step, progress.evaluations_without_gain = gain, progress.step, 0
            self.best_adapter = self._adapter()
        else:
            progress.evaluations_without_gain += 1
            progress.stopped = progress.evaluations_without_gain >= stopping.patience
        if progress.stopped:
            self.run.log(f"stopped early at step {progress.step}; best was step {progress.best_step}")

    def _held_out_metrics(self) -> dict[str, Any]:
        prepared = self.prepared
        self.model.eval()
        found = heldout.evaluate(
            self.reader,
            prepared.heldout,
            loss=self.config.loss,
            batch_tokens=self.config.batch_tokens,
            pad_id=prepared.pad_id,
        )
        self.model.train()
        return {"loss": found.loss, **heldout.measure(prepared.heldout, found.scores)}

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
        longest = int(self.prepared.train.lengths.max())
        if longest > self.reader.context:
            raise ShepherdError(
                f"max_length: the longest row has {longest} tokens, {self.config.base} reads at most "
                f"{self.reader.context}; use --set max_length={self.reader.context}"
            )
        batch = collate(self.prepared.train.rows[:1], self.prepared.pad_id)
        self.model.eval()
        models.check_head(self.reader, batch.ids.to(self.reader.device), batch.at.to(self.reader.device))


def _lasting_name(base: str) -> str:
    """A folder by its whole path, so that the verifier finds it from anywhere; a hub name as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base


def class_weights(rows: EncodedRows, weighting: str) -> tuple[float, float]:
    """Weights of good and bad; ``balanced`` gives both classes the same total weight, 1 a step on average."""
    if weighting == "none":
        return 1.0, 1.0
    labels = np.concatenate([row.labels for row in rows.rows]).astype(np.float64)
    labels = labels[np.isfinite(labels)]
    good, bad = float(labels.sum()), float((1 - labels).sum())
    if min(good, bad) == 0:
        raise ShepherdError("class_weighting: balanced needs steps of both classes; all labels are alike")
    return len(labels) / (2 * good), len(labels) / (2 * bad)


def one_line(metrics: Mapping[str, Any]) -> str:
    """Metrics for a log line, each with its baseline.

    Example:
        >>> one_line({"loss": 0.5, "auc": {"value": 0.91, "baseline": 0.8}, "counts": {"rows": 3}})
        'loss 0.5000, auc 0.910 (baseline 0.800)'
    """
    parts = []
    for key, value in metrics.items():
        if isinstance(value, float):
            parts.append(f"{key} {value:.4f}")
        elif isinstance(value, Mapping) and value.get("value") is not None:
            baseline = value.get("baseline")
            aside = "" if baseline is None else f" (baseline {baseline:.3f})"
            parts.append(f"{key} {value['value']:.3f}{aside}")
    return ", ".join(parts)
