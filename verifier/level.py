"""The level of values that were learnt in pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eval.steps import THRESHOLD
from verifier.batches import EncodedRow, collate
from verifier.heads import Outcome
from verifier.model import TagReader


@torch.no_grad()
def centre(reader: TagReader, head: Outcome, batches: Sequence[Sequence[EncodedRow]], pad_id: int) -> None:
    """Set the head's bias so that 0 lies half-way between the mean right and the mean wrong solution.

    Pairs say nothing of the values' level: it may drift to where a sigmoid in fp32 is 1 for all, and then
    ties decide (arXiv 2203.02155, section 3.5, sets such a bias too).

    Args:
        reader: with `head`, in eval mode.
        head: its bias is changed in place.
        batches: rows with outcome labels, right ones and wrong ones among them.
        pad_id: any token.
    """
    head.bias.zero_()
    values, targets = [], []
    for rows in batches:
        batch = collate(rows, pad_id)
        hidden = reader.hidden(batch.ids.to(reader.device), batch.at.to(reader.device))
        values.append(reader.pair_logits(hidden)[:, 0].cpu())
        targets.append(batch.targets >= THRESHOLD)
    value, right = torch.cat(values), torch.cat(targets)
    head.bias.fill_(-0.5 * float(value[right].mean() + value[~right].mean()))
