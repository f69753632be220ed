"""The steps of a fine-tuning, taken by TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from generation.learn.order import sums_of_steps
from generation.learn.sft.heldout import heldout_loss
from generation.learn.sft.prepare import Prepared
from generation.learn.watch import Saves, StepLog, Watch, on_one_device
from shepherd.runs import Run
from verifier import checkpoint


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

    config = prepared.config

    def after_step(log: StepLog) -> None:
        if log.is_time:
            run.metric(
                step=log.step,
                loss=float(log.logs["loss"]),
                learning_rate=log.learning_rate,
                gradient_norm=float(log.logs["grad_norm"]),
                tokens_per_s=round(log.tokens_per_s),
            )
        every = config.eval_every
        if log.step == prepared.steps or (every is not None and log.step % every == 0):
            loss = heldout_loss(model, prepared.heldout)
            if loss is not None:
                run.metric(step=log.step, heldout_loss=loss)
                run.log(f"step {log.step}: held-out loss {loss:.4f} nats a token")

    rows, rows_a_step = prepared.train.rows, config.batch_size * config.accumulation
    watch = Watch(
        model,
        optimizer,
        config,
        steps=prepared.steps,
        tokens=sums_of_steps(prepared.train.lengths[prepared.order].tolist(), rows_a_step),
        saves=Saves(
            run.path / "checkpoints", prepared.checkpoint_every, config.keep_checkpoints, prepared.plan
        ),
        state=state,
        after_step=after_step,
    )
    arguments = watch.arguments(
        folder=run.path,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        device=config.device,
        seed=config.seed,
    )
    tokens = {"input_ids": [list(row.ids) for row in rows], "labels": [row.labels for row in rows]}
    told = SFTConfig(
        **arguments,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},  # labels are given
        train_sampling_strategy="sequential",  # the order is
    )
    on_one_device(told)
    trainer = Trainer(
        model=model,
        args=told,
        train_dataset=datasets.Dataset.from_dict(tokens).select(
            prepared.order[watch.first * rows_a_step :].tolist()
        ),
        processing_class=prepared.tokenizer,
        optimizers=watch.optimizers(),
        callbacks=[watch],
    )
    return watch.take_steps(trainer, "fine-tuning")
