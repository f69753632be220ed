"""Attention for n candidates of one prompt: the prompt's keys are kept once a problem, not once a candidate.

At n = 16 reading keys and values is most of what a decoding step costs, and most of them are the prompt's.
Here a step reads the prompt once for all the candidates of a problem (as one matrix product), reads each
candidate's own tokens, and joins the two softmaxes by their log-sum-exps, which is exact. The same idea is
published as Hydragen (arXiv 2402.05099).

Left out on purpose: sliding windows and attention biases; `refusal` says which models cannot be sampled.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

NAME = "shepherd_shared_prefix"
GROWTH_TOKENS = 64  # how far a slab is extended at a time: memory follows the texts, not the limit


class Pair(NamedTuple):
    """Keys and values."""

    keys: Tensor
    values: Tensor


class SharedPrefixLayer(CacheLayerMixin):
    """Keys and values of one layer: those of prompts a problem, those of sampled tokens a candidate."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        self.prompts: Pair | None = None  # (problems, heads, longest prompt, head width) each
        self.sampled: Pair | None = None  # (rows, heads, room, head width) each, filled up to length
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to prepare: the first update is the prompts'."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep the prompts' states first; afterwards append one token a row and return the rows so far."""
        if self.prompts is None:
            self.prompts = Pair(key_states.contiguous(), value_states.contiguous())  # read at every step
            return key_states, value_states
        rows, heads, _, width = key_states.shape
        if self.sampled is None or self.length == self.sampled.keys.shape[2]:
            shape = (rows, heads, self.length + GROWTH_TOKENS, width)
            grown = Pair(key_states.new_empty(shape), value_states.new_empty(shape))
            if self.sampled is not None:
                grown.keys[:, :, : self.length] = self.sampled.keys[:rows]
                grown.values[:, :, : self.length] = self.sampled.values[:rows]
            self.sampled = grown
        keys, values = self.sampled
        keys[:rows, :, self.length] = key_states[:, :, 0]
        values[:rows, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return keys[:rows, :, : self.length], values[:rows, :, : self.length]

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

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy the sampled states of rows ``source`` over those of rows ``target``; prompts stay in place."""
        for layer in self.of_layer:
            for states in layer.sampled or ():
                states[target, :, : layer.length] = states[source, :, : layer.length]

    def keep_problems(self, problems: Tensor) -> None:
        """Drop the prompts of all problems but these."""
        self.lengths = self.lengths[problems]
        longest = int(self.lengths.max())
        for layer in self.of_layer:
            if layer.prompts is not None:
                layer.prompts = Pair(*(x[problems, :, :longest].contiguous() for x in layer.prompts))


class Groups:
    """Rows arranged by problem: a padded table ``(problems, most rows of one)`` and the way back."""

    def __init__(self, problem_of_row: Tensor, lengths: Tensor, longest: int) -> None:
        device = problem_of_row.device
        order = problem_of_row.argsort(stable=True)
        counts = problem_of_row.bincount(minlength=len(lengths))
        self.problems, self.width = len(lengths), int(counts.max())
        starts = counts.cumsum(0) - counts
        of = problem_of_row[order]
        place = of * self.width + torch.arange(len(order), device=device) - starts[of]
        self.table = torch.zeros(self.problems * self.width, dtype=torch.long, device=device)
        self.table[place] = order
        self.back = torch.empty_like(order)
        self.back[order] = place
        beyond = torch.arange(longest, device=device)[None] >= lengths[:, None]
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
    q = query.view(rows, kv_heads, share, width)[groups.table]
    q = q.view(groups.problems, groups.width, kv_heads, share, width).transpose(1, 2)
    q = q.reshape(groups.problems, kv_heads, groups.width * share, width)
    prompt_out, prompt_mass = _softmax_sum(q, prompts.keys, prompts.values, groups.beyond)

    def by_row(x: Tensor) -> Tensor:
        x = x.view(groups.problems, kv_heads, groups.width, share, -1).transpose(1, 2)
        return x.reshape(groups.problems * groups.width, kv_heads * share, -1)[groups.back]

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
    mass = scores.logsumexp(-1, keepdim=True)
    return torch.matmul(scores.sub_(mass).exp_().to(v.dtype), v), mass


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
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and tokens > limit:
        return f"{limit} positions, fewer than prompt and solution ({tokens})"
    return None


AttentionInterface.register(NAME, attend)
