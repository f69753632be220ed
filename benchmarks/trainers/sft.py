"""TRL's SFTTrainer on the same rows: its loss stands at the step tags alone, by labels that mask all else."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from trainers.ours import watch_on
from trainers.rows import LEARNING_RATE, rows_of
from trainers.watch import Watched, arguments, state_bytes, watched_trainer

from verifier import model as models
from verifier.batches import EncodedRow
from verifier.prepare import Prepared
from verifier.tags import TagContract


def labelled(row: EncodedRow, contract: TagContract) -> dict[str, list[int]]:
    """A row as SFTTrainer takes it: with labels shifted, a tag's own output predicts the label after it.

    One token more stands at the end, for the label of the last tag to have a place.
    """
    ids = [*row.ids.tolist(), contract.good_id]
    labels = [-100] * len(ids)
    for at, label in zip(row.tags.tolist(), row.labels.tolist(), strict=True):
        labels[at + 1] = contract.good_id if label == 1.0 else contract.bad_id
    return {"input_ids": ids, "labels": labels}


def train(prepared: Prepared, folder: Path, size: int, threads: int, *, labels_alone: bool) -> Watched:
    """Every step of the plan, from the same weights and adapter as our trainer starts from.

    Args:
        prepared: of `trainers.rows.plan`, for the head ``lm``.
        folder: that the trainer may write to.
        size: rows in a batch.
        threads: of torch; the trainer must not change them.
        labels_alone: put only labelled positions through the head, as TRL 1.16 does where it has Triton. On a
            CPU it scores every position, to keep shapes alike for compilers; a favour, then.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    config = prepared.config
    base = models.load_base(
        config.base,
        quantization=config.quantization,
        dtype=config.dtype,
        device=models.pick_device(config.device),
    )
    model: Any = models.add_lora(base, config.lora, config.seed)
    parts = rows_of(prepared)
    rows = [labelled(row, prepared.contract) for part in parts for row in part]
    tokenizer = prepared.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    asked = arguments(str(folder), LEARNING_RATE, size, len(parts[0]), prepared.steps, config.seed)
    asked |= {
        "use_cpu": config.device == "cpu",
        "bf16": config.dtype == "bfloat16",
        "gradient_checkpointing": config.gradient_checkpointing,
    }
    settings = SFTConfig(
        **asked,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    losses: list[float] = []
    watch = watch_on(config.device)
    trainer = watched_trainer(SFTTrainer, watch, losses)(
        model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    torch.set_num_threads(threads)
    with patch("trl.trainer.utils._use_triton", return_value=True) if labels_alone else nullcontext():
        trainer.train()
    return watch.found(losses, state_bytes(trainer.optimizer))
