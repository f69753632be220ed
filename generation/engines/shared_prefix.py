"""Attention for many continuations of one prompt: the prompt's keys are kept once a problem, not once a row.

At n = 16 reading keys and values is most of what a decoding step costs, and most of them are the prompt's.
Here a step reads the prompt once for all the rows of a problem (as one matrix product), reads each row's own
tokens, and joins the two softmaxes by their log-sum-exps, which is exact. The same idea is
published as Hydragen (arXiv 2402.05099).

Left out on purpose: sliding windows and attention biases; `refusal` says which models cannot be sampled.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from generation.engines.grouped import Grouped
from verifier.model import steady_positions

NAME = "shepherd_shared_prefix"
GROWTH_TOKENS = 64  # how far a slab is extended at a time: memory follows the texts, not the limit


class Pair(NamedTuple):
    """Keys and values."""

    keys: Tensor
    values: Tensor


class SharedPrefixLayer(CacheLayerMixin):
    """Keys and values of one layer: those of prompts a problem, those of sampled tokens a row."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.prompts: Pair | None = None  # (problems, heads, longest prompt, head width) each
        self.sampled: Pair | None = None  # (places, heads, room, head width) each, filled up to length
        self.length = 0
        self.most = 0  # places that will ever be needed

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare: the first update is the prompts'."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the prompts' states first; afterwards append one token a row and return the rows so far."""
        if self.prompts is None:
            self.prompts = Pair(key_states.contiguous(), value_states.contiguous())  # read at every step
            return key_states, value_states
        self.make_room(key_states, self.length + 1)
        assert self.sampled is not None
        keys, values = (states[: len(key_states)] for states in self.sampled)
        keys[:, :, self.length] = key_states[:, :, 0]
        values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return keys[:, :, : self.length], values[:, :, : self.length]

    def move(self, source: Tensor, target: Tensor, rows: int) -> None:
        """Copy the sampled states of places ``source`` over those of ``target``; rows fill so many places."""
        if self.sampled is None:
            return
        self.make_room(self.sampled.keys, self.length, rows)
        for states in self.sampled:
            states[target, :, : self.length] = states[source, :, : self.length]

    def make_room(self, like: Tensor, tokens: int, rows: int | None = None) -> None:
        """Have places for so many rows of so many tokens: memory follows what is sampled, not the limits."""
        rows = len(like) if rows is None else rows
        places, room = (0, 0) if self.sampled is None else self.sampled.keys.shape[0:3:2]
        if rows <= places and tokens <= room:
            return
        # rows branch: there are places for twice as many, but for no more than candidates that go on
        places = max(rows, min(2 * rows, self.most))
        shape = (places, like.shape[1], room if tokens <= room else tokens + GROWTH_TOKENS - 1, like.shape[3])
        grown = Pair(like.new_empty(shape), like.new_empty(shape))
        for new, old in zip(grown, self.sampled or (), strict=False):
            kept = min(len(new), len(old))
            new[:kept, :, : self.length] = old[:kept, :, : self.length]
        self.sampled = grown

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tokens that a query of this layer can see, and where they begin."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held: the longest prompt and what has been sampled after it."""
        return self.length + (0 if self.prompts is None else self.prompts.keys.shape[2])

    def get_max_length(self) -> int:
        """No bound."""
        return -1


class SharedPrefixCache(Cache):
    """The cache of one batch: which row belongs to which problem, and the two kinds of keys of every layer.

    Args:
        lengths: Prompt lengths in tokens, shape ``(problems,)``; prompts are padded on the right.
        layers: Layers of the model.
    """

    def __init__(self, lengths: Tensor, layers: int) -> None:
        self.of_layer = [SharedPrefixLayer() for _ in range(layers)]
        super().__init__(layers=list(self.of_layer))
        self.lengths = lengths
        self.groups: Groups | None = None

    def group(self, problem_of_row: Tensor) -> None:
        """Say which problem each row continues, shape ``(rows,)``; to be said again whenever rows change."""
        self.groups = Groups(problem_of_row, self.lengths, int(self.lengths.max()))

    def move(self, source: Tensor, target: Tensor, rows: int, most: int) -> None:
        """Copy the sampled states of rows ``source`` over those of rows ``target``; prompts stay in place.

        Args:
            source: Rows, as they were; none of them is in ``target``.
            target: Rows, as they are to be.
            rows: How many there are then.
            most: How many there can be from now on.
        """
        for layer in self.of_layer:
            layer.most = most
            layer.move(source, target, rows)

    def keep_problems(self, problems: Tensor) -> None:
        """Drop the prompts of all problems but these."""
        self.lengths = self.lengths[problems]
        longest = int(self.lengths.max())
        for layer in self.of_layer:
            if layer.prompts is not None:
                layer.prompts = Pair(*(x[problems, :, :longest].contiguous() for x in layer.prompts))


class Groups(Grouped):
    """Rows arranged by problem, and what of a problem's padded prompt is not there."""

    def __init__(self, problem_of_row: Tensor, lengths: Tensor, longest: int) -> None:
        super().__init__(problem_of_row, len(lengths))
        beyond = torch.arange(longest, device=lengths.device)[None] >= lengths[:, None]
        self.beyond = beyond[:, None, None] if bool(beyond.any()) else None  # (problems, 1, 1, longest)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    scaling: float | None = None,
    shared_prefix: SharedPrefixCache | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks it of an attention function; ``query`` is ``(rows, heads, tokens, width)``.

    Prompts (there are no groups yet) need no mask: they are padded on the right, where a causal query never
    looks.
    """
    rows, heads, tokens, width = query.shape
    kv_heads = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    if shared_prefix is None or shared_prefix.groups is None:
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, scale=scale, is_causal=tokens > 1, enable_gqa=heads != kv_heads
        )
        return out.transpose(1, 2).contiguous(), None

    groups, share = shared_prefix.groups, heads // kv_heads
    prompts = shared_prefix.of_layer[cast(int, module.layer_idx)].prompts
    assert prompts is not None  # groups are told after the prompts were read
    query = query * scale
    # prompts: (problems, kv heads, rows of the problem × heads that share a key, width)
    q = groups.lay_out(query.view(rows, kv_heads, share, width)).transpose(1, 2)
    q = q.reshape(groups.groups, kv_heads, groups.width * share, width)
    prompt_out, prompt_mass = _softmax_sum(q, prompts.keys, prompts.values, groups.beyond)

    def by_row(x: Tensor) -> Tensor:
        x = x.view(groups.groups, kv_heads, groups.width, share, -1).transpose(1, 2)
        return groups.take_back(x.reshape(groups.groups, groups.width, heads, -1))

    # own tokens: one small product a row and kv head
    q = query.reshape(rows * kv_heads, share, width)
    own_out, own_mass = _softmax_sum(q, key.flatten(0, 1), value.flatten(0, 1), None)
    # softmax over the union = the two softmaxes, each weighted by its share of the exponentials
    weight = torch.sigmoid(own_mass.view(rows, heads, 1) - by_row(prompt_mass)).to(query.dtype)
    out = torch.lerp(by_row(prompt_out), own_out.view(rows, heads, width), weight)
    return out[:, None], None  # (rows, 1, heads, width)


def _softmax_sum(q: Tensor, k: Tensor, v: Tensor, masked: Tensor | None) -> tuple[Tensor, Tensor]:
    """Softmax attention of q over k, and the fp32 log-sum-exp of its scores (…, queries, 1)."""
    scores = torch.matmul(q, k.transpose(-1, -2)).float()
    if masked is not None:
        scores = scores.masked_fill_(masked, float("-inf"))
    most = scores.amax(-1, keepdim=True)
    scores = scores.sub_(most).exp_()
    mass = scores.sum(-1, keepdim=True)
    if v.dtype == torch.float32:  # the smaller of the two is divided
        return torch.matmul(scores, v) / mass, mass.log() + most
    return torch.matmul(scores.div_(mass).to(v.dtype), v), mass.log() + most


def refusal(model: PreTrainedModel, tokens: int) -> str | None:
    """Say why ``model`` cannot be sampled this way up to ``tokens`` positions, or None where it can."""
    config: PreTrainedConfig = model.config.get_text_config(decoder=True)
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} does not take an attention function from outside"
    window = getattr(config, "sliding_window", None)
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers - {"full_attention", "sliding_attention"}:
        return f"layers of kind {', '.join(sorted(layers - {'full_attention'}))}"
    if window is not None and getattr(config, "use_sliding_window", True) and tokens > window:
        return f"a sliding window of {window} tokens, shorter than prompt and solution ({tokens})"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "attention scores are capped"
    steady = steady_positions(config)
    if steady is not None and tokens > steady:
        return f"rotations that change beyond {steady} tokens, fewer than prompt and solution ({tokens})"
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and tokens > limit:
        return f"{limit} positions, fewer than prompt and solution ({tokens})"
    return None


AttentionInterface.register(NAME, attend)
