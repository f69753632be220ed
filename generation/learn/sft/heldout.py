"""How well a generator expects the right solutions of questions it was not trained on."""

from __future__ import annotations

from typing import Any

import torch

from generation.learn.sft.rows import IGNORED, EncodedSolutions

_BATCH_TOKENS = 8192


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
        size = max(1, _BATCH_TOKENS // len(order[0].ids))
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
