"""The shape of a decoder-only transformer: enough to count its parameters and its memory, and no more.

It comes from the model's ``config.json`` (a folder, a packaged model, the hub's cache on this machine) or
from the YAML's ``shape`` key, so that a plan can be made with no network. Nothing is downloaded and no torch
is imported here.

Left out on purpose: mixtures of experts, sliding windows and everything that is not a Llama in its weights.
Their shape is unknown (None), which is said and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from shepherd.assets import PREFIX, resolve_model
from shepherd.config import Config
from shepherd.errors import ShepherdError
from shepherd.files import read_json

_BIASES = {"llama": "none", "mistral": "none", "qwen2": "qkv", "qwen3": "none"}


class Shape(Config):
    """Sizes of a Llama-like model; the defaults are what most of them have.

    Attributes:
        hidden: width of the residual stream.
        intermediate: width of the gated feed-forward layer (arXiv 2002.05202).
        kv_heads: heads of keys and values; fewer than `heads` is grouped-query attention (arXiv 2305.13245).
        head_dim: width of one head; null is ``hidden / heads``.
        tied: the output head is the embedding, so it is counted once.
        context: most positions.
        bias: linear layers of the attention that have a bias: none, q, k and v (Qwen2), or all four.
        qk_norm: a norm of a head's width on queries and keys (Qwen3).
    """

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int | None = Field(None, ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = False
    context: int = Field(ge=1)
    bias: Literal["none", "qkv", "qkvo"] = "none"
    qk_norm: bool = False

    @model_validator(mode="after")
    def _divides(self) -> Shape:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key and value heads evenly")
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of {self.heads} heads; give head_dim")
        return self

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def query(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_width

    @property
    def key(self) -> int:
        """Width of all keys together; values have the same."""
        return self.kv_heads * self.head_width

    def differences(self, other: Shape) -> list[str]:
        """Names of the sizes in which two shapes differ; an unset `head_dim` is what it stands for."""
        mine, theirs = ({**each.model_dump(), "head_dim": each.head_width} for each in (self, other))
        return [name for name in mine if mine[name] != theirs[name]]


class Linear(NamedTuple):
    """One linear layer: its name in the model, and its two widths."""

    name: str
    inputs: int
    outputs: int


class Parameters(NamedTuple):
    """Parameters by part; `linear` are the matrices of all layers, which 4-bit loading quantizes."""

    embedding: int
    head: int
    linear: int
    norms: int
    biases: int

    @property
    def total(self) -> int:
        """All parameters; a tied head is counted in the embedding."""
        return sum(self)


def layer_linears(shape: Shape) -> tuple[Linear, ...]:
    """The seven linear layers of one transformer layer, with their names inside it."""
    h, i, q, k = shape.hidden, shape.intermediate, shape.query, shape.key
    return (
        Linear("self_attn.q_proj", h, q),
        Linear("self_attn.k_proj", h, k),
        Linear("self_attn.v_proj", h, k),
        Linear("self_attn.o_proj", q, h),
        Linear("mlp.gate_proj", h, i),
        Linear("mlp.up_proj", h, i),
        Linear("mlp.down_proj", i, h),
    )


def linears(shape: Shape) -> Iterator[Linear]:
    """Every linear layer but the output head, with the names transformers gives them."""
    for layer in range(shape.layers):
        for name, inputs, outputs in layer_linears(shape):
            yield Linear(f"model.layers.{layer}.{name}", inputs, outputs)


def parameters(shape: Shape) -> Parameters:
    """Count parameters by part, exactly.

    Example:
        >>> tinyllama = Shape(layers=22, hidden=2048, intermediate=5632, heads=32, kv_heads=4,
        ...     vocabulary=32000, context=2048)
        >>> parameters(tinyllama).total
        1100048384
    """
    biases = {"none": 0, "qkv": shape.query + 2 * shape.key}
    biases["qkvo"] = biases["qkv"] + shape.hidden
    embedding = shape.vocabulary * shape.hidden
    norms = 2 * shape.hidden + (2 * shape.head_width if shape.qk_norm else 0)
    return Parameters(
        embedding=embedding,
        head=0 if shape.tied else embedding,
        linear=sum(each.inputs * each.outputs for each in linears(shape)),
        norms=shape.layers * norms + shape.hidden,
        biases=shape.layers * biases[shape.bias],
    )


def from_config_json(values: Mapping[str, Any]) -> Shape | None:
    """The shape that transformers' ``config.json`` states; None for an architecture not known here."""
    family = values.get("model_type")
    if family not in _BIASES or values.get("mlp_bias"):
        return None
    bias = "qkvo" if values.get("attention_bias") else _BIASES[family]
    try:
        return Shape(
            layers=values["num_hidden_layers"],
            hidden=values["hidden_size"],
            intermediate=values["intermediate_size"],
            heads=values["num_attention_heads"],
            kv_heads=values.get("num_key_value_heads") or values["num_attention_heads"],
            head_dim=values.get("head_dim"),
            vocabulary=values["vocab_size"],
            tied=bool(values.get("tie_word_embeddings", False)),
            context=values["max_position_embeddings"],
            bias=bias,
            qk_norm=family == "qwen3",
        )
    except (KeyError, ValueError):
        return None  # a config of this family in a form nobody wrote down; unknown, like any other


def local_folder(name: str) -> Path | None:
    """Where a model lies on this machine: packaged, a folder, or the hub's cache; None if nowhere."""
    if name.startswith(PREFIX):
        return Path(resolve_model(name))
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def find_shape(name: str, given: Shape | None, key: str = "shape") -> Shape | None:
    """The shape of a model: its own where it is on this machine, else the one the YAML gives, else None.

    Args:
        name: ``embedded:<name>``, a folder or a hub name.
        given: the YAML's.
        key: the YAML's key, for the error.

    Raises:
        ShepherdError: if both are known and differ: the plan would be another model's.
    """
    folder = local_folder(name)
    path = None if folder is None else folder / "config.json"
    own = from_config_json(read_json(path)) if path is not None and path.is_file() else None
    if own is None or given is None:
        return own or given
    differ = own.differences(given)
    if differ:
        said = ", ".join(f"{each} {getattr(given, each)}, not {getattr(own, each)}" for each in differ)
        raise ShepherdError(f"{key}: {said} as {path} says; use --set {key}=null, which reads that file")
    return own
