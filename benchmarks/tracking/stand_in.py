"""Models of real shapes with random weights, or with none: they stand in for what cannot be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from verifier import model as models
from verifier.model import DTYPES
from verifier.shape import Shape

SHAPES = {
    "tinyllama-1.1b": Shape(
        layers=22, hidden=2048, intermediate=5632, heads=32, kv_heads=4, vocabulary=32000, context=2048
    ),
    "llama-3-8b": Shape(
        layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=128256, context=8192
    ),
    "mistral-7b": Shape(
        layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=32000, context=32768
    ),
}


def build(shape: Shape, *, quantization: str, dtype: str, device: torch.device, fake: bool = False) -> Any:
    """A Llama of this shape, frozen, as `verifier.model.load_base` gives one.

    Args:
        shape: its sizes.
        quantization: as in the config.
        dtype: as in the config.
        device: where it goes.
        fake: its tensors are made under `FakeTensorMode`, by the caller; then `materialise` it after the
            adapter.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        dtype=DTYPES[dtype],
    )
    with _skeleton():
        model: Any = LlamaForCausalLM._from_config(config, dtype=DTYPES[dtype], attn_implementation="sdpa")
        if quantization != "none":
            from transformers.integrations.bitsandbytes import replace_with_bnb_linear

            model = replace_with_bnb_linear(
                model,
                modules_to_not_convert=["lm_head"],
                quantization_config=models.nf4(DTYPES[dtype], double=quantization == "nf4"),
            )
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.config.use_cache = False
    if not fake:
        materialise(model, DTYPES[dtype], device)
    return model


@contextmanager
def _skeleton() -> Iterator[None]:
    """Make modules with no storage; outside of `FakeTensorMode`, where no subclass of a tensor can be."""
    with unset_fake_temporarily(), torch.device("meta"):
        yield


def materialise(model: Any, dtype: torch.dtype, device: torch.device, fake: bool = False) -> None:
    """Put random weights where a model has none, one layer's matrix at a time; 4-bit ones are quantized."""
    from bitsandbytes.nn import Linear4bit

    kept: dict[int, nn.Parameter] = {}  # a tied head stays tied
    for module in model.modules():
        if isinstance(module, Linear4bit):
            weight = torch.empty(module.out_features, module.in_features, dtype=dtype, device=device)
            _quantize(module, weight if fake else weight.normal_(std=0.02), fake)
            continue
        for name, old in module._parameters.items():
            if old is None or old.device.type != "meta":
                continue
            if id(old) not in kept:
                new = torch.empty(old.shape, dtype=old.dtype, device=device)
                if not fake:
                    new = torch.ones_like(new) if old.dim() == 1 else new.normal_(std=0.02)
                kept[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad)
            module._parameters[name] = kept[id(old)]
    body = getattr(model, "get_base_model", lambda: model)().model
    with device:
        body.rotary_emb = type(body.rotary_emb)(config=body.config)
    models.keep_autograd_on_cpu(model)


def _quantize(module: Any, weight: torch.Tensor, fake: bool) -> None:
    """Give a 4-bit layer its weight; a fake tensor cannot become a `Params4bit`, so that is imitated."""
    from bitsandbytes import functional
    from bitsandbytes.nn import Params4bit

    double = module.weight.compress_statistics
    if not fake:
        made: Any = Params4bit(
            weight, requires_grad=False, compress_statistics=double, quant_type="nf4", module=module
        )
        new = made.to(weight.device)
    else:
        packed, state = functional.quantize_4bit(weight, compress_statistics=double, quant_type="nf4")
        new = nn.Parameter(packed, requires_grad=False)
        like = {"compress_statistics": double, "quant_type": "nf4", "quant_storage": torch.uint8}
        for key, value in {**like, "blocksize": 64, "bnb_quantized": True, "quant_state": state}.items():
            setattr(new, key, value)
    module._parameters["weight"] = new
    module.quant_state = new.quant_state


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors with sizes and no numbers; bitsandbytes' tables are made before, since they hold numbers."""
    from bitsandbytes import functional
    from bitsandbytes.optim.optimizer import Optimizer8bit

    functional.quantize_4bit(torch.randn(64 * 300), compress_statistics=True, quant_type="nf4")
    maps = {
        "dynamic": functional.create_dynamic_map(),
        "udynamic": functional.create_dynamic_map(signed=False),
    }

    def fill(self: Any) -> None:
        self.name2qmap.update(maps)

    with FakeTensorMode(allow_non_fake_inputs=True), patch.object(Optimizer8bit, "fill_qmap", fill):
        yield


@contextmanager
def bases_from(shape: Shape, fake: bool) -> Iterator[None]:
    """Let `load_base` build a stand-in of this shape, whatever name it is asked for."""
    add_lora = models.add_lora

    def load_base(_name: str, *, quantization: str, dtype: str, device: torch.device, **_code: bool) -> Any:
        return build(shape, quantization=quantization, dtype=dtype, device=device, fake=fake)

    def add_fake_lora(model: Any, lora: Any, seed: int, *rest: Any, **named: Any) -> Any:
        with _skeleton():
            adapted = add_lora(model, lora, seed, *rest, **named)
        materialise(adapted, model.dtype, torch.device("cpu"), fake=True)
        return adapted

    with (
        patch.object(models, "load_base", load_base),
        patch.object(models, "add_lora", add_fake_lora if fake else add_lora),
        patch.object(models, "check_head", lambda *_: None),
    ):
        yield
