"""The level of values that were learnt in pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from eval.steps import THRESHOLD
from verifier.batches import EncodedRow, supervised
from verifier.heads import Outcome
from verifier.model import TagReader
from verifier.packing.read import passes_for, read_pass


@torch.no_grad()
def centre(
    reader: TagReader, head: Outcome, rows: Sequence[EncodedRow], batch_tokens: int, pad_id: int
) -> None:
    """Set the head's bias so that 0 lies half-way between the mean right and the mean wrong solution.

    Pairs say nothing of the values' level: it may drift to where a sigmoid in fp32 is 1 for all, and then
    ties decide (arXiv 2203.02155, section 3.5, sets such a bias too).

    Args:
        reader: with `head`, in eval mode.
        head: its bias is changed in place.
        rows: with outcome labels, right ones and wrong ones among them.
        batch_tokens: most tokens in a pass.
        pad_id: any token.
    """
    head.bias.zero_()
    sequences, tags = [row.ids for row in rows], [supervised(row).tags for row in rows]
    values, targets = [], []
    for each in passes_for(reader, sequences, batch_tokens):
        hidden = read_pass(reader, each, sequences, tags, pad_id)
        values.append(reader.pair_logits(hidden)[:, 0].cpu())
        targets += [supervised(rows[member]).labels >= THRESHOLD for member in each.members]
    value, right = torch.cat(values), torch.from_numpy(np.concatenate(targets))
    head.bias.fill_(-0.5 * float(value[right].mean() + value[~right].mean()))
