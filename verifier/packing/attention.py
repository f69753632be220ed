"""Attention along the paths of a packed row, as an attention function of transformers.

transformers hands what it does not know of a call through to the attention of every layer, and makes no mask
for an attention that it does not know: so a row's tiles travel with the call, and nothing in a model changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from verifier.packing.tiles import Tiles

NAME = "shepherd_tiles"
_IN_A_RECOMPUTED_LAYER = "shepherd_tiles_kept"


@dataclass(frozen=True, slots=True)
class TileTensors:
    """Tiles on a device: ``keys`` (tiles, most keys), ``sees`` (tiles, 1, size, most keys)."""

    size: int
    keys: Tensor
    sees: Tensor
    _masks: dict[tuple[torch.dtype, int], Tensor] = field(default_factory=dict, repr=False)

    def mask(self, dtype: torch.dtype, sharing: int) -> Tensor:
        """What is added to the scores, shape ``(tiles, 1, sharing * size, most keys)``: one for all layers.

        Given yes and no instead, each layer would make such a mask, and keep it for its backward pass.
        """
        if (dtype, sharing) not in self._masks:
            added = torch.zeros_like(self.sees, dtype=dtype).masked_fill_(~self.sees, -torch.inf)
            self._masks[dtype, sharing] = added if sharing == 1 else added.repeat(1, 1, sharing, 1)
        return self._masks[dtype, sharing]


def to_tensors(tiles: Tiles, device: torch.device) -> TileTensors:
    """Tiles where the model is."""
    return TileTensors(
        tiles.size,
        torch.from_numpy(tiles.keys).to(device),
        torch.from_numpy(tiles.sees).unsqueeze(1).to(device),
    )


def attend(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    tiles: TileTensors,
    dropout: float = 0.0,
    scaling: float | None = None,
    keeps_keys: bool = False,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row.

    Args:
        _module: the layer's attention.
        query: shape ``(1, heads, n, d)``.
        key: shape ``(1, key heads, n, d)``.
        value: as `key`.
        _mask: None; the tiles say who sees whom.
        tiles: of the row.
        dropout: of attention weights.
        scaling: of the scores.
        keeps_keys: keep the keys and values that tiles gather for the backward pass; else they are gathered
            once more there, and attention is computed once more.

    Returns:
        Shape ``(1, n, heads, d)``, and no weights.
    """
    run = partial(_over_tiles, tiles=tiles, dropout=dropout, scaling=scaling)
    if keeps_keys or not query.requires_grad:
        return run(query, key, value), None
    # Kept of all layers, what tiles gather would be the most of what a row keeps.
    return checkpoint(run, query, key, value, use_reentrant=False, preserve_rng_state=dropout > 0), None


def _over_tiles(
    query: Tensor, key: Tensor, value: Tensor, *, tiles: TileTensors, dropout: float, scaling: float | None
) -> Tensor:
    heads, length, width = query.shape[1:]
    key_heads, count, size = key.shape[1], len(tiles.keys), tiles.size
    sharing = heads // key_heads
    # Queries that share a key head stand behind one another, so that no key is copied for each of them.
    runs = pad(query[0], (0, 0, 0, count * size - length)).view(key_heads, sharing, count, size, width)
    found = scaled_dot_product_attention(
        runs.permute(2, 0, 1, 3, 4).reshape(count, key_heads, sharing * size, width),
        _gather(key, tiles.keys),
        _gather(value, tiles.keys),
        tiles.mask(query.dtype, sharing),
        dropout_p=dropout,
        scale=scaling,
    )
    found = found.view(count, key_heads, sharing, size, width).permute(0, 3, 1, 2, 4)
    return found.reshape(1, count * size, heads, width)[:, :length]


def _gather(states: Tensor, at: Tensor) -> Tensor:
    """Keys or values of every tile, shape ``(tiles, key heads, most keys, d)``.

    A token's heads lie side by side in memory: they are copied as one piece.
    """
    heads, length, width = states.shape[1:]
    tokens = states[0].transpose(0, 1).reshape(length, heads * width)
    return embedding(at, tokens).view(*at.shape, heads, width).transpose(1, 2)


AttentionInterface.register(NAME, attend)
AttentionInterface.register(_IN_A_RECOMPUTED_LAYER, partial(attend, keeps_keys=True))


def along_paths(model: Any) -> AbstractContextManager[None]:
    """For a while a model's attention is `attend`."""
    return _attention(model, NAME)


def recomputed_alike(model: Any) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint`: what a layer is run under, and what it is run under once more.

    A layer looks up its attention when it runs, and where activations are not kept it runs again in the
    backward pass, when `along_paths` is over: it is then given the attention that it has now. What its tiles
    gather is kept from the second run to its backward pass, of one layer at a time: so attention need not be
    recomputed for itself.
    """
    now = model.config.get_text_config()._attn_implementation
    name = _IN_A_RECOMPUTED_LAYER if now == NAME else now
    return _attention(model, name), _attention(model, name)


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before
