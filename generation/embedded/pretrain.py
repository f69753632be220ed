"""Train the embedded world's small language models from scratch, on right solutions only.

One plain loop: draw problems, tokenise, sort a window by length, step. Loss on the solution alone. Nothing is
corrupted and nothing is scripted; what a generator gets wrong is what it has not learnt.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from transformers import LlamaConfig, LlamaForCausalLM

from generation.embedded.objective import IGNORED, Batch, Objective
from generation.embedded.world import stream_problems
from shepherd import steps as step_text
from shepherd.config import Config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOW_ROWS = 4096


class PretrainConfig(Config):
    """One from-scratch model of the embedded world."""

    layers: int = Field(4, ge=1)
    width: int = Field(128, ge=16, multiple_of=16)
    heads: int = Field(4, ge=1)
    feed_forward: int = Field(384, ge=16)
    rows: int = Field(400_000, ge=1, description="problems seen in training")
    batch_tokens: int = Field(4096, ge=256, description="tokens a step, padding included")
    learning_rate: float = Field(1e-2, gt=0, description="of the matrices, under Muon")
    vector_learning_rate: float = Field(3e-3, gt=0, description="of embeddings and norms, under AdamW")
    weight_decay: float = Field(0.01, ge=0)
    warmup_share: float = Field(0.03, ge=0, le=1)
    exit_layer: int | None = Field(
        None, ge=1, description="layer that also predicts the next token, and is compared with it above"
    )
    twin_share: float = Field(
        1.0, ge=0, description="weight of the easily confused kinds in the training text"
    )
    save_shares: tuple[float, ...] = Field(
        (), description="shares of the training after which the model is also kept"
    )
    seed: int = 0


def pretrain(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Train one model and write it to ``folder`` (and ``folder/at-<share>`` for each kept share).

    Args:
        config: shape, data and schedule.
        tokenizer: of the embedded world.
        folder: receives the model and ``log.jsonl`` (step, rows, the objective's parts, seconds).
    """
    torch.manual_seed(config.seed)
    model = _new_model(config, tokenizer)
    tag_id = tokenizer.encode(f" {step_text.TAG}", add_special_tokens=False)[-1]
    objective = Objective(config.exit_layer, config.width, tag_id)
    optimizers = _optimizers(model, objective, config)
    marks = sorted(config.save_shares)
    folder.mkdir(parents=True, exist_ok=True)
    started, seen, losses = time.monotonic(), 0, []
    with (folder / "log.jsonl").open("w") as log:
        for step, batch in enumerate(_batches(config, tokenizer)):
            share = seen / config.rows
            if share >= 1:
                break
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * _schedule(share, config.warmup_share)
            parts = objective(model, batch)
            torch.stack(list(parts.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seen += len(batch.ids)
            losses.append({name: float(part.detach()) for name, part in parts.items()})
            if step % 100 == 99:
                means = {name: round(fmean(each[name] for each in losses), 4) for name in parts}
                losses.clear()
                row = {
                    "step": step + 1,
                    "rows": seen,
                    **means,
                    "seconds": round(time.monotonic() - started),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
            while marks and seen / config.rows >= marks[0]:
                _save(model, folder / f"at-{marks.pop(0):g}")
    _save(model, folder)


def _new_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    shape = LlamaConfig(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=config.width,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(shape)


def _optimizers(
    model: LlamaForCausalLM, objective: Objective, config: PretrainConfig
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices, AdamW for the rest.

    Half AdamW's loss in the same time at this size.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    rest = [p for p in (*model.parameters(), *objective.parameters()) if id(p) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=config.vector_learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _schedule(share: float, warmup: float) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def _batches(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> Iterator[Batch]:
    """Windows of problems, sorted by length so that little is padded, in random order of batches."""
    rng = random.Random(config.seed)
    stream = stream_problems("train", config.seed, config.twin_share)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    while True:
        drawn = list(itertools.islice(stream, min(WINDOW_ROWS, config.rows)))
        questions = tokenizer([step_text.prompt(p.problem.question).rstrip() for p in drawn])["input_ids"]
        solutions = tokenizer([" " + p.solution_text for p in drawn], add_special_tokens=False)["input_ids"]
        rows = sorted(
            ((q + s + [eos], len(q)) for q, s in zip(questions, solutions, strict=True)),
            key=lambda row: len(row[0]),
        )
        batches = []
        start = 0
        while start < len(rows):
            size = 1
            while start + size < len(rows) and (size + 1) * len(rows[start + size][0]) <= config.batch_tokens:
                size += 1
            batches.append(rows[start : start + size])
            start += size
        rng.shuffle(batches)
        for rows in batches:
            longest = len(rows[-1][0])
            ids = torch.tensor([row + [pad] * (longest - len(row)) for row, _ in rows])
            labels = torch.tensor(
                [[IGNORED] * prompt + row[prompt:] + [IGNORED] * (longest - len(row)) for row, prompt in rows]
            )
            yield Batch(ids, labels)


def _save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model in half precision, as it is shipped."""
    LlamaForCausalLM.from_pretrained(
        None,
        config=model.config,
        state_dict={k: v.half() for k, v in model.state_dict().items()},
        dtype=torch.float16,
    ).save_pretrained(folder)
