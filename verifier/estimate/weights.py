"""Bytes of weights: a base in 4, 16 or 32 bits, and the adapter on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from shepherd.errors import ShepherdError
from verifier.estimate.parts import Part
from verifier.shape import Linear, Shape, linears, parameters

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_BLOCK, _SECOND_BLOCK = 64, 256
"""bitsandbytes: one scale for 64 weights; with double quantization those scales are 8-bit numbers in
blocks of 256, with one fp32 scale each (arXiv 2305.14314, section 3)."""


class Base(NamedTuple):
    """A frozen model as it is loaded.

    Attributes:
        quantization: ``nf4``, ``nf4-single`` or ``none``.
        dtype: of what is not quantized.
    """

    shape: Shape
    quantization: str
    dtype: str

    @property
    def is_4bit(self) -> bool:
        """Are the layers' matrices in 4 bits?"""
        return self.quantization != "none"

    @property
    def loaded_bytes(self) -> int:
        """Bytes a number has in the checkpoint, and in a matrix that is unpacked from 4 bits."""
        return _DTYPE_BYTES[self.dtype]

    @property
    def active_bytes(self) -> int:
        """Bytes a number has in hidden states and in what is not quantized.

        A 4-bit base in float16 is cast to fp32, see `verifier.model.load_base`.
        """
        return 4 if self.is_4bit and self.dtype == "float16" else self.loaded_bytes

    @property
    def unpacked_bytes(self) -> int:
        """The largest matrix as it stands unpacked beside its 4 bits while it is multiplied with."""
        if not self.is_4bit:
            return 0
        largest = max(each.inputs * each.outputs for each in linears(self.shape))
        cast = 0 if self.loaded_bytes == self.active_bytes else self.active_bytes
        return largest * (self.loaded_bytes + cast)

    def parts(self) -> tuple[Part, ...]:
        """The weights by part."""
        counted = parameters(self.shape)
        rest = counted.embedding + counted.head
        small = counted.norms + counted.biases
        each = self.active_bytes
        layers = counted.linear * each
        how = f"{counted.linear:,} numbers of {each} bytes"
        if self.is_4bit:
            layers = sum(packed_bytes(x.inputs * x.outputs, self.quantization) for x in linears(self.shape))
            how = f"{counted.linear:,} numbers of 4 bits, and their scales"
        name = "4-bit base" if self.is_4bit else "layers"
        ends = "embedding, tied to the head" if self.shape.tied else "embedding and output head"
        return (
            Part(name, layers, how),
            Part(f"{ends}, norms", (rest + small) * each, f"{rest + small:,} numbers of {each} bytes"),
        )


def packed_bytes(numbers: int, quantization: str) -> int:
    """Bytes of a matrix in 4 bits with its scales.

    Example:
        >>> packed_bytes(4096 * 4096, "nf4-single") / (4096 * 4096)  # bytes a number
        0.5625
        >>> round(packed_bytes(4096 * 4096, "nf4") / (4096 * 4096), 4)
        0.5159
    """
    blocks = -(-numbers // _BLOCK)
    scales = 4 * blocks
    if quantization == "nf4":
        scales = blocks + 4 * -(-blocks // _SECOND_BLOCK) + 4
    return -(-numbers // 2) + scales


class Adapter(NamedTuple):
    """A LoRA adapter: two thin matrices, in fp32, beside every linear layer that is adapted.

    Attributes:
        rank: of each; with AdaLoRA the rank that it begins with.
        adaptive: AdaLoRA (arXiv 2303.10512): a vector of singular values beside the two matrices.
    """

    rank: int
    linears: tuple[Linear, ...]
    adaptive: bool = False

    @property
    def tensors(self) -> tuple[int, ...]:
        """Parameters of each of its matrices."""
        more = (1,) if self.adaptive else ()
        return tuple(
            self.rank * width for each in self.linears for width in (each.inputs, each.outputs, *more)
        )

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(self.tensors)

    @property
    def layers(self) -> dict[int, frozenset[str]]:
        """Adapted names (``q_proj``) by layer."""
        found: dict[int, set[str]] = {}
        for each in self.linears:
            found.setdefault(int(each.name.split(".")[2]), set()).add(each.name.rpartition(".")[2])
        return {layer: frozenset(names) for layer, names in found.items()}

    def part(self) -> Part:
        """Its weights."""
        return Part("adapter", 4 * self.parameters, f"{self.parameters:,} numbers of 4 bytes")


def adapted_linears(shape: Shape, targets: str | Sequence[str]) -> tuple[Linear, ...]:
    """The linear layers that peft adapts, by its own rules: all, a pattern of the whole name, or last names.

    Example:
        >>> tiny = Shape(layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, vocabulary=32, context=64)
        >>> [each.name for each in adapted_linears(tiny, ("v_proj",))]
        ['model.layers.0.self_attn.v_proj', 'model.layers.1.self_attn.v_proj']
        >>> len(adapted_linears(tiny, "all-linear")), len(adapted_linears(tiny, ".*layers[.]1[.].*_proj"))
        (14, 7)
    """
    if targets == "all-linear":
        return tuple(linears(shape))
    if isinstance(targets, str):
        found = [each for each in linears(shape) if re.fullmatch(targets, each.name)]
    else:
        found = [each for each in linears(shape) if any(_ends_in(each.name, last) for last in targets)]
    if not found:
        raise ShepherdError(
            f"lora.targets: {targets} is no linear layer here; --set lora.targets=all-linear adapts all"
        )
    return tuple(found)


def _ends_in(name: str, last: str) -> bool:
    return name == last or name.endswith(f".{last}")
