"""The generation batches of a run, taken by TRL's GRPOTrainer, and what is done beside them.

A checkpoint is written at the end of a generation batch and never inside one: what a batch's completions are
and what has been learnt from them is then the same in a run that goes on and in one that was never stopped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from generation.learn.grpo.evaluations import (
    Evaluation,
    drop_needless,
    drop_unfinished,
    evaluate,
    last_good,
)
from generation.learn.grpo.learnt import KEPT, Learnt
from generation.learn.grpo.observation import Observation, observe
from generation.learn.grpo.prepare import Prepared
from generation.learn.grpo.rollouts import Made, Rollouts
from generation.learn.grpo.samplers import Sample, TransformersSampler, TrlSampler
from generation.learn.grpo.sentinels import SCORE_WITHOUT_ACCURACY, Sentinels, Tripped
from generation.learn.grpo.standing import Standing
from generation.learn.grpo.trainer import GroupTrainer, arguments
from generation.learn.watch import check_gradients
from shepherd.console import Progress
from shepherd.console import progress as progress_bar
from shepherd.files import append_line, open_to_append, read_finished, write_jsonl
from shepherd.runs import Run
from verifier import checkpoint
from verifier.adapter import adapter_weights, put_weights
from verifier.optim import learning_rate_at

BATCHES = "batches.jsonl"


class Batches(TrainerCallback):
    """Makes generation batches, lets TRL learn from them, and looks at each when it is over.

    Args:
        prepared: problems, verifier, config.
        run: gets metrics, evaluations and checkpoints.
        model: base and adapter, as the policy begins.
        optimizer: of the adapter.
    """

    def __init__(self, prepared: Prepared, run: Run, model: Any, optimizer: Any) -> None:
        self.prepared, self.config, self.run = prepared, prepared.config, run
        self.model, self.optimizer = model, optimizer
        self.rollouts = Rollouts(prepared)
        self.sentinels = Sentinels(self.config.sentinels)
        self.standing = Standing()
        self.made: Made | None = None
        self._sample: Sample | None = None
        self._rng: list[torch.Tensor] | None = None
        self._factor, self._steps = 1.0, 0
        self._logs: dict[str, list[float]] = defaultdict(list)
        self._bar: Progress | None = None
        self._started = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Is there no other generation batch to come?"""
        left = self.config.rollouts - self.standing.rollouts
        return self.standing.stopped is not None or left < self.config.batch

    def learn(self) -> Standing:
        """Take what is left of the run, from its newest checkpoint if it has one."""
        start = adapter_weights(self.model)
        state = checkpoint.latest(self.run.path / "checkpoints", self.prepared.plan)
        self._go_on_from(state)
        if self.is_over:
            if state is not None:
                put_weights(self.model, state.adapter)
            return self.standing
        trainer = self._trainer()
        # On a 4-bit base TRL rounds the adapter to bf16; and its reference is what the model was till now.
        put_weights(self.model, start if state is None else state.adapter, dtype=torch.float32)
        if state is not None:
            self.optimizer.load_state_dict(state.optimizer)
        if not self.standing.evaluations:
            self._evaluate()
        done, whole = self.standing.rollouts, self.config.rollouts
        with progress_bar("rollouts", whole, "completions", done) as self._bar:
            trainer.train()
        return self.standing

    def _go_on_from(self, state: checkpoint.Checkpoint | None) -> None:
        """Put everything but weights and optimizer as the checkpoint has it."""
        path = self.run.path / BATCHES
        rows = read_finished(path)
        if state is not None and state.more is not None:
            self.standing = Standing.from_json(state.more["standing"])
            self.sentinels = Sentinels.from_json(self.config.sentinels, state.more["sentinels"])
            self._rng = state.rng
            self.run.log(f"resumed after generation batch {self.standing.batch}")
        drop_unfinished(self.run.path, self.standing.evaluations)
        if len(rows) > self.standing.batch:  # what a batch after the checkpoint wrote is made again
            write_jsonl(path, rows[: self.standing.batch])

    def _trainer(self) -> GroupTrainer:
        import datasets

        config = self.config
        left = (config.rollouts - self.standing.rollouts) // config.batch
        trainer = GroupTrainer(
            self._make,
            config.rewards.weights(),
            model=self.model,
            args=arguments(
                config,
                self.run.path,
                steps=left * config.steps_a_batch,
                use_vllm=self.prepared.rollout == "vllm",
            ),
            # What is asked is decided batch by batch; TRL is given a row for each prompt that there can be.
            train_dataset=datasets.Dataset.from_dict({"prompt": [""] * (left * config.prompts)}),
            processing_class=self.prepared.tokenizer,
            optimizers=(self.optimizer, LambdaLR(self.optimizer, lambda _: self._factor)),
            callbacks=[self],
        )
        trainer.remove_callback(PrinterCallback)
        if config.adapter is None and "ref" in self.model.peft_config:
            self.model.delete_adapter("ref")  # a fresh adapter's reference is the base alone: a copy saved
        name, tokenizer, sampling = config.model, self.prepared.tokenizer, config.sampling
        if self.prepared.rollout == "vllm":
            self._sample = TrlSampler(trainer, tokenizer, name, sampling)
        else:
            self._sample = TransformersSampler(self.model, tokenizer, name, sampling, config.seed)
        return trainer

    def _make(self, trainer: GroupTrainer) -> Learnt:
        """Make the next generation batch; the learning rate follows the rollouts that are spent."""
        config, standing = self.config, self.standing
        assert self._sample is not None  # set before training begins
        self.made = made = self.rollouts.make(
            self._sample, standing.place, config.rollouts - standing.rollouts
        )
        if standing.batch == 0:
            made.check_answers(config)
        self._factor = self._rate() / config.update.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        self._steps = 0
        self._logs.clear()
        return made.learnt

    def _rate(self) -> float:
        """Learning rate of the batch at hand."""
        config = self.config
        most = max(1, config.most_batches)
        spent = self.standing.rollouts // config.batch
        return learning_rate_at(min(spent, most - 1), most, config.update)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Before the first step after a resume, draw on where the killed run would have."""
        if self._rng is not None:
            checkpoint.restore_random_state(self._rng)
            self._rng = None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A gradient that is not finite ends the run before it reaches the adapter."""
        check_gradients(self.model, f"generation batch {self.standing.batch + 1}")

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """TRL logs every step, after its end; the last step of a batch ends the batch."""
        logs: Mapping[str, Any] = more["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        for name, value in logs.items():
            if isinstance(value, int | float):
                self._logs[name].append(float(value))
        self._steps += 1
        if self._steps == self.config.steps_a_batch:
            self._end_batch()
            if self.is_over:
                control.should_training_stop = True

    def _end_batch(self) -> None:
        """Count, evaluate, ask the sentinels, write."""
        config, standing, made = self.config, self.standing, self.made
        assert made is not None  # a batch that ends was made
        standing.batch += 1
        standing.place = made.place
        standing.rollouts += made.drawn
        for fate, count in made.fates.items():
            standing.fates[fate] = standing.fates.get(fate, 0) + count
        row = {"batch": standing.batch, "rollouts": standing.rollouts, **made.row(), **self._learnt()}
        over = self.is_over
        if over or standing.batch % config.eval_every == 0:
            row["heldout_accuracy"] = self._evaluate().accuracy
        tripped = self.sentinels.observe(self._observation(row))
        if tripped is not None:
            self._stop(tripped)
        with open_to_append(self.run.path / BATCHES) as handle:
            append_line(handle, row)
        self.run.metric(**row, seconds=round(time.monotonic() - self._started, 2))
        if self.is_over or standing.batch % config.checkpoint_every == 0:
            self._save()
            # No sentinel that trips later can look back beyond its window, and the batch before that.
            last = standing.batch - self.config.sentinels.window - 1
            drop_needless(self.run.path, standing.evaluations, max(0, last))
        if self._bar is not None:
            reward = "none" if row["reward"] is None else f"{row['reward']:.3f}"
            entropy = "unknown" if row.get("entropy") is None else f"{row['entropy']:.3f}"
            self._bar.note(f"reward {reward}, {row['tokens']:.0f} tokens, entropy {entropy}")
            self._bar.advance(made.drawn)

    def _observation(self, row: Mapping[str, Any]) -> Observation:
        """What the sentinels are told of the batch at hand: of all that was sampled for it."""
        assert self.made is not None
        completions = [each for group in self.made.asked for each in group.completions]
        scores = [score for group in self.made.asked for score in group.solution_scores]
        return observe(
            self.standing.batch,
            [each.text for each in completions],
            [len(each.ids) for each in completions],
            [not each.ended for each in completions],
            tags=self.config.rewards.tags,
            style=self.config.answers.style,
            entropy=row.get("entropy"),
            scores=scores or None,
            accuracy=row.get("heldout_accuracy"),
        )

    def _learnt(self) -> dict[str, float | None]:
        """What TRL logged of the batch's steps, under our names, as means over them.

        Where no group was kept there are no tokens to mean over, and TRL's zeros say nothing: None.
        """
        names = {
            "loss": "loss",
            "grad_norm": "gradient_norm",
            "kl": "kl",
            "entropy": "entropy",
            "clip_ratio/low_mean": "clipped_low",
            "clip_ratio/high_mean": "clipped_high",
        }
        assert self.made is not None  # a batch that ends was made
        nobody = not any(self.made.learnt.rewards[KEPT])
        found: dict[str, float | None] = {
            ours: None
            if nobody and ours not in ("loss", "gradient_norm")
            else float(np.mean(self._logs[trls]))
            for trls, ours in names.items()
            if self._logs.get(trls)
        }
        return found | {"learning_rate": self._factor * self.config.update.learning_rate}

    def _evaluate(self) -> Evaluation:
        """Look at the policy as it is, and keep its adapter as long as it can be chosen."""
        standing, prepared = self.standing, self.prepared
        found = evaluate(
            self.config,
            self.model,
            prepared.tokenizer,
            prepared.asked.validation,
            standing.batch,
            self.run.path,
        )
        standing.evaluations.append(found)
        self.run.log(f"generation batch {found.batch}: held-out accuracy {100 * found.accuracy:.1f}%")
        return found

    def _stop(self, tripped: Tripped) -> None:
        """End the run, and say which adapter is kept."""
        standing = self.standing
        # The completions of a batch are those of the policy before it. Where held-out accuracy itself is what
        # fell, it also says which policy was the best.
        by_accuracy = tripped.name == SCORE_WITHOUT_ACCURACY
        kept = last_good(standing.evaluations, standing.batch if by_accuracy else max(0, tripped.since - 2))
        standing.stopped = {
            "sentinel": tripped.name,
            "said": tripped.sentence,
            "batch": standing.batch,
            "kept_batch": kept.batch,
            "kept_accuracy": kept.accuracy,
        }
        self.run.log(f"stopped by {tripped.name}: {tripped.sentence}")

    def _save(self) -> None:
        state = checkpoint.Checkpoint(
            progress=checkpoint.Progress(step=self.standing.batch, stopped=self.standing.stopped is not None),
            plan=self.prepared.plan,
            adapter=adapter_weights(self.model),
            best_adapter=None,
            optimizer=self.optimizer.state_dict(),
            rng=checkpoint.random_state(),
            more={"standing": self.standing.to_json(), "sentinels": self.sentinels.to_json()},
        )
        checkpoint.save(self.run.path / "checkpoints", state, self.config.keep_checkpoints)
