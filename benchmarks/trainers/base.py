"""The model that is trained or scored with: a Llama of random weights beside a real vocabulary."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from tracking.stand_in import build
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from verifier.model import DTYPES, load_tokenizer, quiet_bitsandbytes
from verifier.shape import Shape

SHAPE: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 32_000,
}
"""134 million weights, 85 million of them in the trunk's matrices."""
TOY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 4_096,
}


SHAPES: dict[str, dict[str, Any]] = {
    "134m": SHAPE,
    "tinyllama-1.1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": 32_000,
    },
    "llama-3-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    },
}


def config_of(shape: dict[str, Any]) -> LlamaConfig:
    """The configuration of a shape; where it says nothing else, keys have as many heads as queries."""
    return LlamaConfig(**{"num_key_value_heads": shape["num_attention_heads"], **shape})


def save_base(shape: dict[str, Any], vocabulary: str, folder: Path, seed: int) -> Path:
    """Write a model folder: random weights of a shape, and a tokenizer.

    Args:
        shape: `SHAPE` or `TOY`.
        vocabulary: ``mistral`` (32,000 tokens; from ``SHEPHERD_DATA``) or ``embedded`` (the small world's).
        folder: to be made.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    LlamaForCausalLM(config_of(shape)).save_pretrained(folder)
    save_tokenizer(vocabulary, folder)
    return folder


def random_model(
    shape: dict[str, Any], dtype: str, device: torch.device, quantization: str, seed: int = 0
) -> Any:
    """A frozen Llama of random weights, such as `verifier.model.load_base` gives; nothing is read or written.

    It is made where it is to be and in `dtype`; in 4 bits a matrix at a time, each quantized before the next
    is drawn. So 8B in NF4 take no more than they do when they are ready, and one matrix.

    Args:
        shape: of `SHAPES`, or `TOY`.
        dtype: of what is not quantized, and of the computing.
        device: where it is made.
        quantization: ``none`` or one of `verifier.config.Quantization`.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    if quantization == "none":
        with device:
            model: Any = AutoModelForCausalLM.from_config(config_of(shape), dtype=DTYPES[dtype])
        model.config.use_cache = False
        return model.requires_grad_(False).eval()
    heads = shape["num_attention_heads"]
    sizes = Shape(
        layers=shape["num_hidden_layers"],
        hidden=shape["hidden_size"],
        intermediate=shape["intermediate_size"],
        heads=heads,
        kv_heads=shape.get("num_key_value_heads", heads),
        vocabulary=shape["vocab_size"],
        context=2048,
    )
    quiet_bitsandbytes()
    model = build(sizes, quantization=quantization, dtype=dtype, device=device)
    model.is_loaded_in_4bit = True  # peft adapts by it
    return model.eval()


def save_tokenizer(vocabulary: str, folder: Path) -> None:
    """Write a tokenizer's files: ``mistral`` or ``embedded``."""
    if vocabulary == "embedded":
        load_tokenizer("embedded:base").save_pretrained(folder)
    else:
        save_mistral_tokenizer(folder)


def save_mistral_tokenizer(folder: Path) -> None:
    """Write the files of Mistral's first vocabulary, as sentencepiece has it, with its settings."""
    source = Path(os.environ["SHEPHERD_DATA"]) / "tokenizers" / "mistral_tokenizer.model.v1"
    shutil.copyfile(source, folder / "tokenizer.model")
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | tokens))
