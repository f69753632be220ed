"""The gradient of one optimizer step, in as few tokens as its rows take.

The rows of all its batches are read together, in the passes that are least work: packed rows, in which
solutions share a question's tokens and each other's first steps, or padded batches. Each pass is followed by
its backward pass, so memory is that of one pass. The loss stands at supervised tags alone.

A shared prefix is read once and its gradient is the sum of what all its solutions ask of it: up to rounding,
what reading each of them alone gives. (Not so under ``lora.dropout``: what is read once is dropped out once.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from verifier.batches import EncodedRow, questions_of, supervised
from verifier.packing.read import passes_for, read_pass

if TYPE_CHECKING:
    from verifier.loss import Loss
    from verifier.model import TagReader


class Gradient(NamedTuple):
    """What was added to the gradients.

    Attributes:
        loss: mean over all summands of the step.
        tokens_read: tokens in the passes, padding included.
    """

    loss: float
    tokens_read: int


def add_gradient(
    reader: TagReader, loss: Loss, batches: Sequence[Sequence[EncodedRow]], batch_tokens: int, pad_id: int
) -> Gradient:
    """Add the gradient of the mean loss over all summands of some batches.

    Args:
        reader: in training mode.
        loss: whose summands of one batch may depend on each other, where it `couples` them; then a batch has
            one backward pass, however many passes read it.
        batches: the rows of an optimizer step, as they were planned.
        batch_tokens: most tokens in a pass; a longer row has a pass of its own.
        pad_id: any token; nothing reads it.

    Raises:
        ShepherdError: where no position is supervised; the mean over nothing would be NaN.
    """
    groups = list(batches) if loss.couples else [[row for batch in batches for row in batch]]
    count = sum(loss.count(_targets(rows), questions_of(rows)) for rows in groups)
    total, tokens_read = 0.0, 0
    for rows in groups:
        sequences, tags = [row.ids for row in rows], [supervised(row).tags for row in rows]
        passes = passes_for(reader, sequences, batch_tokens)
        for some in [passes] if loss.couples else [[each] for each in passes]:
            members = [rows[member] for each in some for member in each.members]
            hidden = torch.cat([read_pass(reader, each, sequences, tags, pad_id) for each in some])
            targets = _targets(members).to(reader.device)
            summands = loss.losses(loss.values(reader, hidden), targets, questions_of(members))
            part = summands.sum() / count
            part.backward()
            total += float(part.detach())
            tokens_read += sum(each.tokens for each in some)
    return Gradient(total, tokens_read)


def _targets(rows: Sequence[EncodedRow]) -> torch.Tensor:
    """Labels at the supervised tags of all rows."""
    return torch.from_numpy(np.concatenate([supervised(row).labels for row in rows]))
