"""The peak of scoring and of sampling, by part.

Without a backward pass a layer holds only what it works on; `benchmarks/memory.py` counts it as it runs.
Names are those of `verifier.estimate.training`. In a packed row attention may hold more than the feed-forward
layer: in the first one the mask is made while queries, their copy by tiles, and the keys and values that
tiles gather are there.
"""

from __future__ import annotations

from typing import NamedTuple

from verifier.estimate.parts import CONTEXT_BYTES, USABLE, Estimate, Part
from verifier.estimate.training import tiles_parts
from verifier.estimate.weights import Adapter, Base
from verifier.packing.budget import CPU_BYTES, LEAST_TOKENS, tokens_that_fit
from verifier.packing.passes import TILE

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


def scoring_memory(base: Base, adapter: Adapter | None, tokens: int, keys_a_tile: int = 0) -> Estimate:
    """Estimate the peak of scoring `tokens` tokens in one pass; two logits a tag weigh nothing.

    Args:
        base: the verifier's.
        adapter: on it, if any.
        tokens: of the pass, padding included.
        keys_a_tile: as in `verifier.estimate.Step`: 0 for a padded batch.
    """
    size = max(_forward_bytes(base, adapter, tokens), _gathered_bytes(base, tokens, keys_a_tile))
    return Estimate(
        (
            *_weights(base, adapter),
            *tiles_parts(base, tokens, keys_a_tile),
            Part("activations: one layer at work", size, f"{tokens:,} tokens"),
        )
    )


def scoring_tokens(base: Base, adapter: Adapter | None, most: int, memory_bytes: int, *, on_cpu: bool) -> int:
    """Tokens of a scoring pass, at most so many: `verifier.packing.room` has the same rule and measures.

    Args:
        base: the verifier's.
        adapter: on it, if any.
        most: that are asked for.
        memory_bytes: of the machine, or of the card.
        on_cpu: is it the machine?
    """
    less, more = (_forward_bytes(base, adapter, times * LEAST_TOKENS) for times in (1, 2))
    a_token = (more - less) / LEAST_TOKENS
    held = sum(part.bytes for part in _weights(base, adapter)) + (0 if on_cpu else CONTEXT_BYTES)
    free = USABLE * memory_bytes - held
    fit = tokens_that_fit(a_token, less - a_token * LEAST_TOKENS, free, CPU_BYTES if on_cpu else None)
    return min(most, fit)


def sampling_memory(base: Base, batch: Batch) -> Estimate:
    """Estimate the peak of sampling one batch with the transformers engine.

    It is that of candidates of which no two begin alike: what they share is held once, but known only later.
    """
    shape, a = base.shape, base.active_bytes
    token = 2 * shape.key * a  # keys and values of one layer
    room = -(-batch.new_tokens // GROWTH_TOKENS) * GROWTH_TOKENS
    prompts = batch.problems * batch.prompt_tokens * token * shape.layers
    # While one layer's slab grows, in tokens or in rows, the old one is still there.
    sampled = batch.rows * room * (shape.layers + 1) * token
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


def _weights(base: Base, adapter: Adapter | None) -> tuple[Part, ...]:
    return base.parts() if adapter is None else (*base.parts(), adapter.part())


def _forward_bytes(base: Base, adapter: Adapter | None, tokens: int) -> int:
    """What a forward pass holds at its worst, which is in a feed-forward layer."""
    a, h, i = base.active_bytes, base.shape.hidden, base.shape.intermediate
    # four tensors of the residual stream's width; gate, its activation, up
    plain = tokens * (4 * a * h + 3 * a * i) + base.unpacked_bytes
    if adapter is None:
        return plain
    # and up's part from the adapter, before and after scaling, in fp32; in bfloat16 its input's fp32 copy
    adapted = 12 * h + 12 * i if a == 2 else 16 * h + 16 * i
    return max(plain, tokens * adapted)


def _gathered_bytes(base: Base, tokens: int, keys_a_tile: int) -> int:
    """What attention holds of a packed row while its mask is made, the mask itself left out."""
    shape = base.shape
    # residual stream and the norm of it; queries and two copies; keys, values, and those gathered
    widths = 2 * shape.hidden + 3 * shape.query + 2 * shape.key * (1 + keys_a_tile / TILE)
    return round(base.active_bytes * tokens * (widths + keys_a_tile)) if keys_a_tile else 0
