"""The peak of scoring and of sampling, by part.

Without a backward pass a layer holds only what it works on. Per token, in bytes, with the names of
`verifier.estimate.training`: the residual stream and the normed input, and in the feed-forward layer the
activated gate, up and what an adapter adds to it in fp32.
"""

from __future__ import annotations

from typing import NamedTuple

from verifier.estimate.parts import Estimate, Part
from verifier.estimate.weights import Adapter, Base

GROWTH_TOKENS = 64
"""By how many tokens `generation.engines.shared_prefix` extends the cache of sampled tokens at a time."""


class Batch(NamedTuple):
    """What is sampled as one batch.

    Attributes:
        problems: prompts read.
        n: candidates a prompt.
        prompt_tokens: longest prompt.
        new_tokens: longest candidate.
        top_p: below 1 the vocabulary is sorted, which costs memory.
    """

    problems: int
    n: int
    prompt_tokens: int
    new_tokens: int
    top_p: float

    @property
    def rows(self) -> int:
        """Candidates sampled side by side."""
        return self.problems * self.n


def scoring_memory(base: Base, adapter: Adapter | None, tokens: int) -> Estimate:
    """Estimate the peak of scoring `tokens` padded tokens in one pass; two logits a tag weigh nothing."""
    parts = base.parts() if adapter is None else (*base.parts(), adapter.part())
    size = _forward_bytes(base, adapter, tokens)
    return Estimate((*parts, Part("activations: one layer at work", size, f"{tokens:,} tokens")))


def sampling_memory(base: Base, batch: Batch) -> Estimate:
    """Estimate the peak of sampling one batch with the transformers engine."""
    shape, a = base.shape, base.active_bytes
    token = 2 * shape.key * a  # keys and values of one layer
    room = -(-batch.new_tokens // GROWTH_TOKENS) * GROWTH_TOKENS
    prompts = batch.problems * batch.prompt_tokens * token * shape.layers
    # While one layer's slab grows, the old one is still there.
    sampled = batch.rows * (room * shape.layers + room - GROWTH_TOKENS) * token
    drawn = a + (19 if batch.top_p == 1 else 32)
    logits = batch.rows * shape.vocabulary * drawn
    reading = _forward_bytes(base, None, batch.problems * batch.prompt_tokens)
    # Prompts are read before anything is sampled: the worse moment counts.
    late = sampled + logits >= reading
    return Estimate(
        (
            *base.parts(),
            Part("KV cache: prompts", prompts, f"{batch.problems:,} × {batch.prompt_tokens:,} tokens"),
            Part("KV cache: candidates", sampled, f"{batch.rows:,} × {room:,} tokens", late),
            Part("logits and draws", logits, f"{batch.rows:,} × {shape.vocabulary:,} × {drawn} bytes", late),
            Part("activations: reading prompts", reading, "one layer at work", not late),
        )
    )


def _forward_bytes(base: Base, adapter: Adapter | None, tokens: int) -> int:
    """What a forward pass holds at its worst."""
    a, h, i = base.active_bytes, base.shape.hidden, base.shape.intermediate
    plain = tokens * (2 * a * h + 3 * a * i) + base.unpacked_bytes
    norm = tokens * (a * h + 12 * h)  # its input, and fp32 copies
    if adapter is None:
        return max(plain, norm)
    # bfloat16: the input's fp32 copy, up twice in fp32; float32: up three times beside the gate
    adapted = 8 * h + 12 * i if a == 2 else 8 * h + 16 * i
    return max(plain, norm, tokens * adapted)
