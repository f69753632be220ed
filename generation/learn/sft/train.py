"""`shepherd sft`: fine-tune a generator's adapter on right solutions, with TRL's SFTTrainer.

    solutions -> held out by question -> tokens -> order of rows -> TRL's steps -> adapter

TRL takes the steps (forward, loss on the labels, backward, accumulation, clipping). What decides a result is
fixed before: rows and labels as tokens, their order, the learning rate of each step. So a run that was
killed hands TRL the rest of the order with the state of its last checkpoint, and writes the same bytes (CPU,
one thread). Checkpoints are those of `verifier.checkpoint`: whole or not at all.

Left out on purpose: packing (a row sees no other), several GPUs, training of all weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from generation.learn.policy import load_policy
from generation.learn.sft.heldout import heldout_loss
from generation.learn.sft.prepare import Prepared
from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory
from shepherd.runs import Run
from verifier import model as models
from verifier.adapter import write_adapter
from verifier.optim import make_optimizer

ADAPTER = "adapter"


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
    model, optimizer = _load(prepared, run)
    before = heldout_loss(model, prepared.heldout)  # a fresh adapter changes nothing
    if before is not None:
        run.metric(step=0, heldout_loss=before)
    from generation.learn.watch import restore  # after load_base, which quiets bitsandbytes

    state = restore(run.path / "checkpoints", prepared.plan, model, optimizer)
    done = 0 if state is None else state.progress.step
    if state is not None:
        run.log(f"resumed at step {done} of {prepared.steps}")
    tokens_per_s = 0.0
    if done < prepared.steps:
        from generation.learn.sft.steps import take_steps

        tokens_per_s = take_steps(prepared, run, model, optimizer, state)
    folder = run.path / ADAPTER
    with atomic_directory(folder) as aside:
        write_adapter(aside, model, config.base)
        prepared.tokenizer.save_pretrained(aside)
    after = heldout_loss(model, prepared.heldout)
    run.log(f"adapter written to {folder}; held-out loss {before} before, {after} after")
    return SftResult(folder, prepared.steps, tokens_per_s, before, after, prepared.counts())


def _load(prepared: Prepared, run: Run) -> tuple[Any, Any]:
    """The base with a fresh adapter, and the optimizer."""
    config = prepared.config
    model = load_policy(
        config.base,
        config,
        adapter=None,
        seed=config.seed,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    context = int(getattr(model.config, "max_position_embeddings", 1 << 30))
    if (longest := int(prepared.train.lengths.max())) > context:
        raise ShepherdError(
            f"max_length: the longest row has {longest} tokens, {config.base} reads at most {context}; use "
            f"--set max_length={context}"
        )
    run.log(models.adapted_share(model))
    return model, make_optimizer(config, models.trainable_parameters(model))
