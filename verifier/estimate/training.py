"""The peak of a training step, by part.

A step of `verifier.training.Trainer` is, for each of its forward passes: body, hidden states at the tags,
head, loss, backward. The worst moment is in the backward pass of the last layer, when the inputs of all
layers are still kept. What a layer holds there is counted tensor by tensor from the code that runs
(transformers' Llama, peft's `Linear4bit` without autocast, bitsandbytes' `MatMul4Bit`), in bytes a token; h
is the width of the hidden states, q of the queries, k of the keys, i of the feed-forward layer, a the bytes
of a number in the hidden states (2 in bfloat16, 4 in float32). Adapters are fp32 whatever the base is.

Kept for the backward pass:

    norms            bfloat16: fp32 copies of both inputs, 8h; float32: the second input, 4h (the first is the
                     layer's own input)
    attention        queries and the result, 2·a·q; keys and values, 2·a·k; its log-sum-exps, 4 a head.
                     In a packed row attention is computed once more in the backward pass, so that queries,
                     keys and values are kept, and its result where `o_proj` is adapted; all layers share
                     one mask. Where the whole layer is, it is not for itself: in place of keys and values
                     those are kept that tiles gather, as many for a token as its tile has keys for each of
                     its queries
    feed-forward     gate, its activation, up: 3·a·i
    adapters         their inputs in fp32. bfloat16: a copy for each adapted layer, 4 times its width;
                     float32: the tensor itself, once for all that read it
                     between the two thin matrices: 4·rank

On top, for a moment: bfloat16: three tensors as wide as the residual stream in fp32, 12h, and the larger of
one of the feed-forward layer's width in fp32, 4i, and the unpacked 4-bit matrix; float32: 4h, 4i and the
unpacked matrix. In a packed row keys and values that tiles gather have gradients, 2·a·k for each gathered
key, beside 2·a·q, and are there themselves, as much again, if they are not kept: for a moment too, when the
feed-forward layer's part is gone.
"""

from __future__ import annotations

from typing import NamedTuple

from verifier.estimate.parts import Estimate, Part
from verifier.estimate.weights import Adapter, Base
from verifier.packing.passes import TILE

_SMALL_TENSOR, _UNPAGED_TENSOR = 4096, 100_000
"""bitsandbytes keeps the state of tensors below the first in 32 bits, and pages none below the second."""


class Step(NamedTuple):
    """What decides the size of a training step.

    Attributes:
        tokens: tokens of a forward pass, padding included.
        tags: supervised positions of a forward pass.
        loss: ``vocab`` or ``pair``.
        accumulation: batches an optimizer step.
        keys_a_tile: of a packed row: the keys that are gathered for a tile of its queries; 0 for a padded
            batch, which gathers none.
    """

    tokens: int
    tags: int
    loss: str
    optimizer: str
    gradient_checkpointing: bool
    accumulation: int = 1
    keys_a_tile: int = 0

    @property
    def keys_a_token(self) -> float:
        """Keys that attention gathers for a token of a packed row."""
        return self.keys_a_tile / TILE


def training_memory(base: Base, adapter: Adapter, step: Step) -> Estimate:
    """Estimate the peak of training `adapter` on `base`.

    Example:
        >>> from verifier.estimate import GIB, adapted_linears
        >>> from verifier.shape import Shape
        >>> llama = Shape(layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8,
        ...     vocabulary=128256, context=8192)
        >>> step = Step(4096, 160, "vocab", "paged_adamw_8bit", gradient_checkpointing=True, accumulation=8)
        >>> adapter = Adapter(64, adapted_linears(llama, "all-linear"))
        >>> estimate = training_memory(Base(llama, "nf4", "bfloat16"), adapter, step)
        >>> round(estimate.total / GIB, 1), estimate.fits(24 * GIB)
        (9.4, True)
    """
    kept = _kept(base, adapter, step)
    work = _work(base, adapter, step)
    logits = _logits(base, step)
    # The logits are gone before the layers' backward pass begins: the worse of the two moments counts.
    late = work.bytes >= logits.bytes
    gradients = 4 * adapter.parameters
    how = "4 bytes a number"
    if step.accumulation == 1:
        # Gradients appear as kept activations go, the first with the last layer's.
        graph = len(_graph_layers(base, adapter))
        gradients = max(gradients // graph, gradients - kept.bytes * (graph - 1) // graph)
        how = "those there at the worst moment: they come as activations go"
    return Estimate(
        (
            *base.parts(),
            adapter.part(),
            Part("gradients", gradients, how),
            optimizer_part(adapter, step.optimizer),
            *_importance(adapter),
            *tiles_parts(base, step.tokens, step.keys_a_tile),
            kept,
            work._replace(at_peak=late),
            logits._replace(at_peak=not late),
        )
    )


def _importance(adapter: Adapter) -> tuple[Part, ...]:
    """AdaLoRA's moving averages, by which it hands out ranks: peft keeps three numbers a parameter."""
    if not adapter.adaptive:
        return ()
    return (Part("importance of ranks", 12 * adapter.parameters, "12 bytes a number"),)


def tiles_parts(base: Base, tokens: int, keys_a_tile: int) -> tuple[Part, ...]:
    """Which query of a packed row looks at which key: yes and no, and as numbers for all layers."""
    if not keys_a_tile:
        return ()
    pairs = tokens * keys_a_tile
    sharing = base.shape.heads // base.shape.kv_heads
    size = pairs * (1 + base.active_bytes * sharing)
    return (Part("tiles of a packed row", size, f"{keys_a_tile:,} keys a tile"),)


def optimizer_part(adapter: Adapter, optimizer: str) -> Part:
    """State of the optimizer.

    Two numbers a parameter for AdamW: of 4 bytes, or of one byte with a 4-byte scale each 256 (arXiv
    2110.02861); one of 4 bytes for Muon. A paged state may move to the machine's memory when the card is
    full.
    """
    if optimizer in ("adamw_8bit", "paged_adamw_8bit"):
        bytes_ = sum(8 * n if n < _SMALL_TENSOR else 2 * n + 8 * -(-n // 256) for n in adapter.tensors)
        how = "2 bytes a number, and scales"
    elif optimizer == "muon":
        bytes_, how = 4 * adapter.parameters, "4 bytes a number"
    else:
        bytes_, how = 8 * adapter.parameters, "8 bytes a number"
    return Part("optimizer", bytes_, how + ("; may be paged out" if optimizer.startswith("paged") else ""))


def pageable_bytes(adapter: Adapter, optimizer: str) -> int:
    """State that CUDA holds as managed memory, which torch's allocator does not count."""
    if not optimizer.startswith("paged"):
        return 0
    each = 2 if optimizer == "paged_adamw_8bit" else 8
    return sum(each * n for n in adapter.tensors if n >= _UNPAGED_TENSOR)


def _graph_layers(base: Base, adapter: Adapter) -> range:
    """Layers through which gradients flow: from the first that is adapted."""
    return range(min(adapter.layers), base.shape.layers)


def _kept(base: Base, adapter: Adapter, step: Step) -> Part:
    """What the forward pass keeps of all layers."""
    a, h = base.active_bytes, base.shape.hidden
    layers = _graph_layers(base, adapter)
    if step.gradient_checkpointing:
        size = len(layers) * step.tokens * a * h
        return Part("activations: layer inputs", size, f"{step.tokens:,} tokens × {len(layers)} layers")
    own = a * h if a == 4 else 0  # the first norm keeps its input; in bfloat16 a copy of it
    each = sum(own + _saved(base, adapter, layer, step) for layer in layers)
    return Part(
        "activations: kept", round(step.tokens * each), f"{step.tokens:,} tokens × {len(layers)} layers"
    )


def _work(base: Base, adapter: Adapter, step: Step) -> Part:
    """What the layer at work holds on top; with checkpointing that is all it keeps, computed again."""
    a, h, i = base.active_bytes, base.shape.hidden, base.shape.intermediate
    saved = max(_saved(base, adapter, layer, step) for layer in _graph_layers(base, adapter))
    if a == 4:
        brief = step.tokens * (4 * h + 4 * i) + base.unpacked_bytes
    else:
        brief = step.tokens * 12 * h + max(step.tokens * 4 * i, base.unpacked_bytes)
    if step.keys_a_tile:
        copies = 2 if step.gradient_checkpointing else 4
        gathering = copies * a * (base.shape.key * step.keys_a_token + base.shape.query)
        brief = max(brief, round(step.tokens * (gathering - 3 * a * i)))
    if not step.gradient_checkpointing:
        return Part("activations: gradients at work", brief, "in the backward pass of one layer")
    size = round(step.tokens * saved) + brief
    return Part("activations: one layer at work", size, f"{size // step.tokens:,} bytes a token")


def _saved(base: Base, adapter: Adapter, layer: int, step: Step) -> float:
    """Bytes a token that one layer keeps for its backward pass, its own input left out."""
    shape, a = base.shape, base.active_bytes
    h, q, i = shape.hidden, shape.query, shape.intermediate
    names = adapter.layers.get(layer, frozenset())
    norms = 8 * h if a == 2 else 4 * h
    packed = step.keys_a_tile > 0
    if packed and step.gradient_checkpointing:
        attention = a * (2 * q + 2 * shape.key * step.keys_a_token) + 4 * shape.heads
    else:
        attention = a * (q + 2 * shape.key) + (0 if packed else a * q + 4 * shape.heads)
    feed_forward = 3 * a * i
    widths = {
        "q_proj": h,
        "k_proj": h,
        "v_proj": h,
        "o_proj": q,
        "gate_proj": h,
        "up_proj": h,
        "down_proj": i,
    }
    if a == 2:
        inputs = sum(widths[name] for name in names)
    else:
        # the attention's result is kept already; the norms' and the feed-forward's are kept once
        readers = (({"q_proj", "k_proj", "v_proj"}, h), ({"gate_proj", "up_proj"}, h), ({"down_proj"}, i))
        inputs = sum(width for some, width in readers if some & names)
        inputs += q if packed and "o_proj" in names else 0
    return norms + attention + feed_forward + 4 * inputs + 4 * adapter.rank * len(names)


def _logits(base: Base, step: Step) -> Part:
    """Logits, their log-softmax and both gradients: fp32, at tags alone."""
    if step.loss == "vocab":
        width, each = base.shape.vocabulary, 12 if base.active_bytes == 4 else 14
    else:
        width, each = 2, 16
    return Part("logits", step.tags * width * each, f"{step.tags:,} tags × {width:,} × {each} bytes")
