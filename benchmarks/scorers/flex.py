"""The same packed rows read with FlexAttention's block mask, to hold our tiles against.

Token i sees token j if j <= i < ends[j] (`verifier/packing/tree.py`). FlexAttention compiles that into a
kernel on a card, and skips blocks of 128 x 128 tokens in which nobody sees anybody. On a CPU it runs as it
is, all pairs at once: to be tested there, not timed.

Compiled for one length, it would be compiled again for each other one. So all rows are given the length of
the longest inside the attention, where nobody sees what is added and its blocks are skipped; the trunk reads
no more tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from scorers.rivals import Scores
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import pad
from transformers import AttentionInterface

from verifier.model import TagReader
from verifier.packing.tree import Row, lay_out
from verifier.tags import EncodedSolution

NAME = "benchmark_flex"
_BLOCK = 128
warnings.filterwarnings("ignore", "flex_attention called without torch.compile", UserWarning)


def sees(row: Row, length: int, device: torch.device) -> Any:
    """Who sees whom in a row, as FlexAttention asks: a function of batch, head, query and key.

    Args:
        row: of the tokens.
        length: that the row is given; nobody sees the tokens that are added.
        device: where the model is.
    """
    ends = torch.zeros(length, dtype=torch.int64)
    ends[: len(row)] = torch.from_numpy(row.ends)
    ends = ends.to(device)

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    return seen


@torch.no_grad()
def score_with_flex(reader: TagReader, solutions: Sequence[EncodedSolution], budget: int) -> Scores:
    """As `verifier.packing.score.score_packed`, of solutions that have steps, all of them in packed rows."""
    rows = lay_out([each.ids[: each.tags[-1] + 1] for each in solutions], reader.room.tokens(budget))
    length = -(-max(map(len, rows)) // _BLOCK) * _BLOCK
    scores: Scores = [np.empty(0, dtype=np.float32)] * len(solutions)
    with _attention(reader.model):
        for row in rows:
            blocks = create_block_mask(
                sees(row, length, reader.device), None, None, length, length, device=reader.device
            )
            states = reader.body(
                input_ids=torch.from_numpy(row.ids).to(reader.device)[None],
                position_ids=torch.from_numpy(row.positions).to(reader.device)[None],
                use_cache=False,
                blocks=blocks,
            ).last_hidden_state[0]
            tags = [place[solutions[at].tags] for at, place in zip(row.members, row.places, strict=True)]
            hidden = states[torch.from_numpy(np.concatenate(tags)).to(reader.device)]
            good = reader.pair_logits(hidden).softmax(-1)[:, 0].cpu().numpy()
            parts = np.split(good, np.cumsum([len(each) for each in tags])[:-1])
            for member, part in zip(row.members, parts, strict=True):
                scores[member] = part
    return scores


def attend(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    blocks: BlockMask,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row, as an attention function of transformers; shape ``(1, n, heads, d)``."""
    length = query.shape[2]
    run = _compiled() if query.is_cuda else flex_attention
    given = [pad(each, (0, 0, 0, blocks.seq_lengths[0] - length)) for each in (query, key, value)]
    found = run(*given, block_mask=blocks, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    return found[:, :, :length].transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=False)


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before
