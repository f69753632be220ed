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
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shepherd.console import progress as progress_bar
from shepherd.errors import ShepherdError
from verifier import checkpoint, folder, heldout
from verifier import model as models
from verifier.adalora import RankBudget, describe_ranks, ranks_of, settle
from verifier.batches import plan_digest, text_lengths
from verifier.card import write_card
from verifier.config import TrainPrmConfig
from verifier.gradient import add_gradient
from verifier.heads import Outcome, TrainedHead
from verifier.level import centre
from verifier.loss import Loss, PairLoss, StepLoss, class_weights
from verifier.optim import learning_rate_at, make_optimizers, set_learning_rate
from verifier.peak import peak_memory_bytes
from verifier.prepare import Prepared, prepare
from verifier.result import TrainingRun, TrainResult, one_line
from verifier.tensorboard import TensorBoard

_LOG_EVERY_S = 5.0
_CENTRE_BATCHES = 8


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
        self.model = models.add_lora(base, config.lora, config.seed, prepared.steps)
        self.budget = RankBudget(self.model) if config.lora.kind == "adalora" else None
        run.log(models.adapted_share(self.model))
        if config.gradient_checkpointing:
            models.enable_gradient_checkpointing(self.model)
        self.reader = models.read_with(config.head, self.model, prepared.contract)
        self.tokens_a_pass = config.tokens_a_pass(self.reader.device.type)
        self.head = self.reader.head if isinstance(self.reader.head, TrainedHead) else None
        self._check_reader()
        adapter = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        own = dict(self.head.named_parameters(prefix="head")) if self.head is not None else {}
        if config.is_pairwise:
            own["head.bias"].requires_grad = False  # cancels in a pair; `_centre` sets it
        self.named = {**adapter, **own}
        self.optimizers = make_optimizers(config, adapter, [p for p in own.values() if p.requires_grad])
        weights = class_weights(prepared.train, config.class_weighting)
        self.loss: Loss = PairLoss() if config.is_pairwise else StepLoss(config.loss, weights)
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
        for optimizer, state in zip(self.optimizers, (found.optimizer, found.beside), strict=False):
            optimizer.load_state_dict(state)
        checkpoint.restore_random_state(found.rng)
        if self.budget is not None and found.budget is not None:
            self.budget.restore(found.budget)
        self.progress, self.best_adapter = found.progress, found.best_adapter
        self.run.log(f"resumed at step {self.progress.step} of {self.prepared.steps}")

    def fit(self) -> None:
        """Run the steps that are left, evaluating and writing checkpoints on the way."""
        steps, progress = self.prepared.steps, self.progress
        eval_every = self.prepared.eval_every
        checkpoint_every = self.prepared.checkpoint_every
        seen, read, busy_s, logged_s = 0, 0, 0.0, -_LOG_EVERY_S
        self.model.train()
        board = TensorBoard(self.run.path / "tensorboard" if self.config.tensorboard else None)
        with board, progress_bar("training", steps, "steps", progress.step) as bar:
            while progress.step < steps and not progress.stopped:
                started = time.monotonic()
                values = self._step(progress.step)
                progress.step += 1
                taken_s = time.monotonic() - started
                busy_s += taken_s
                progress.busy_s += taken_s
                seen += values.pop("tokens")
                read += values.pop("tokens_read")
                self.tokens_per_s = seen / busy_s
                last = progress.step == steps
                bar.note(f"loss {values['loss']:.4f}, {self.tokens_per_s:,.0f} tokens/s")
                bar.advance()
                if last or busy_s - logged_s >= _LOG_EVERY_S:
                    logged_s = busy_s
                    values |= {"tokens_per_s": round(self.tokens_per_s), "read_share": round(read / seen, 4)}
                    self.run.metric(step=progress.step, **values)
                    board.add("train", values, progress.step)
                if self.prepared.heldout.rows and (last or progress.step % eval_every == 0):
                    self._centre()
                    metrics = self._measure(self._evaluate())
                    self.run.metric(step=progress.step, heldout=metrics)
                    self.run.log(f"step {progress.step}: held out: {one_line(metrics)}")
                    board.add("heldout", metrics, progress.step)
                    self._watch(metrics)
                if last or progress.stopped or progress.step % checkpoint_every == 0:
                    self._checkpoint()
        if busy_s:
            self.run.log(
                f"{seen:,} tokens in {busy_s:.1f} s: {self.tokens_per_s:,.0f} tokens/s; "
                f"{read:,} were read ({read / seen:.1%}): a beginning that solutions share once, padding too"
            )

    def finish(self) -> TrainResult:
        """Take the best adapter if early stopping kept one, measure it, and write the verifier."""
        config, prepared = self.config, self.prepared
        if self.best_adapter is not None:
            self._put(self.best_adapter)
        if self.budget is not None:
            settle(self.model)
        ranks = ranks_of(self.model)
        if ranks is not None:
            self.run.log(describe_ranks(ranks))
        self._centre()
        found = self._evaluate() if prepared.heldout.rows else None
        metrics = {} if found is None else self._measure(found)
        held_out = [] if found is None else found.scores
        description = {
            "base": _lasting_name(config.base),
            "base_fingerprint": models.base_fingerprint(self.model, prepared.contract),
            "quantization": config.quantization,
            "dtype": config.dtype,
            "max_length": config.max_length,
            "contract": prepared.contract,
            "head": config.head,
            "training_text": text_lengths(prepared.train),
            "calibration": heldout.calibrate(prepared.heldout, held_out, f"held out of {config.data}"),
        }
        best = self.progress.best_step or self.progress.step
        card = write_card(config, prepared, metrics, best, ranks)
        path = self.run.path / "verifier"
        written = folder.save(path, self.model, prepared.tokenizer, description, card, self.head)
        self.run.log(f"verifier {written.id} written to {path}")
        return TrainResult(
            folder=path,
            verifier_id=written.id,
            head=config.head,
            steps=self.progress.step,
            best_step=best,
            tokens_per_s=self.tokens_per_s,
            train_s=round(self.progress.busy_s, 3),
            peak_memory_bytes=max(self.progress.peak_memory_bytes, peak_memory_bytes(self.reader.device)),
            trainable_parameters=sum(p.numel() for p in self.named.values()),
            ranks=ranks,
            metrics=metrics,
            counts=prepared.counts(),
        )

    def _step(self, step: int) -> dict[str, Any]:
        """One optimizer step over all its batches; the mean is over all their summands together."""
        config, reader = self.config, self.reader
        rate = learning_rate_at(step, self.prepared.steps, config)
        set_learning_rate(self.optimizers, rate)
        groups = self.prepared.plan[step * config.accumulation : (step + 1) * config.accumulation]
        batches = [[self.prepared.train.rows[i] for i in group] for group in groups]
        found = add_gradient(reader, self.loss, batches, self.tokens_a_pass, self.prepared.pad_id)
        more = {}
        if self.budget is not None:
            penalty = self.budget.penalty()
            penalty.backward()
            more["orthogonality"] = float(penalty.detach())
        norm = torch.nn.utils.clip_grad_norm_(list(self.named.values()), config.max_grad_norm)
        if not np.isfinite(found.loss) or not torch.isfinite(norm):
            raise ShepherdError(
                f"step {step + 1}: the loss is {found.loss} and its gradient's norm {float(norm)}; "
                "lower learning_rate, or use dtype float32 or bfloat16"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        if self.budget is not None:
            self.budget.allocate(step + 1)  # it reads the gradients
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return {
            "loss": found.loss,
            **more,
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "tokens": sum(len(row.ids) for batch in batches for row in batch),
            "tokens_read": found.tokens_read,
        }

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

    def _evaluate(self) -> heldout.Evaluation:
        """Loss and scores on the held-out rows."""
        prepared = self.prepared
        self.model.eval()
        # Unweighted, whatever the training's class weights: two runs are compared by it.
        loss: Loss = PairLoss() if self.config.is_pairwise else StepLoss(self.config.loss)
        found = heldout.evaluate(
            self.reader,
            prepared.heldout,
            loss=loss,
            batch_tokens=self.tokens_a_pass,
            pad_id=prepared.pad_id,
        )
        self.model.train()
        return found

    def _measure(self, found: heldout.Evaluation) -> dict[str, Any]:
        rows, head = self.prepared.heldout, self.config.head
        return {"loss": found.loss, **heldout.measure(rows, found.scores, head)}

    def _centre(self) -> None:
        """Set the level of an outcome head's values, which pairs leave open."""
        if isinstance(self.head, Outcome) and self.config.is_pairwise:
            some = np.concatenate(self.prepared.plan[:_CENTRE_BATCHES])
            rows = [self.prepared.train.rows[i] for i in some]
            self.model.eval()
            centre(self.reader, self.head, rows, self.tokens_a_pass, self.prepared.pad_id)
            self.model.train()

    def _checkpoint(self) -> None:
        progress = self.progress
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, peak_memory_bytes(self.reader.device))
        first, *others = (optimizer.state_dict() for optimizer in self.optimizers)
        state = checkpoint.Checkpoint(
            progress=progress,
            plan=self.plan,
            adapter=self._adapter(),
            best_adapter=self.best_adapter,
            optimizer=first,
            rng=checkpoint.random_state(),
            beside=others[0] if others else None,
            budget=None if self.budget is None else self.budget.state(),
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
        row, device = self.prepared.train.rows[0], self.reader.device
        ids, at = (torch.from_numpy(each.astype(np.int64)).to(device) for each in (row.ids, row.tags))
        self.model.eval()
        models.check_head(self.reader, ids[None], at)


def _lasting_name(base: str) -> str:
    """A folder by its whole path, so that the verifier finds it from anywhere; a hub name as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
