"""A model's shape: counted to the last parameter, found where it lies, and never another model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shepherd.errors import ShepherdError
from verifier.shape import Shape, find_shape, from_config_json, linears, local_folder, parameters

LLAMA_3_8B = Shape(
    layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=128256, context=8192
)


def _configs() -> list[Any]:
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    return [
        LlamaConfig(
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
            vocab_size=32000,
            max_position_embeddings=2048,
        ),
        LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=128256,
            max_position_embeddings=8192,
        ),
        MistralConfig(),  # whose defaults are Mistral-7B-v0.1
        Qwen2Config(
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
            num_key_value_heads=2,
            vocab_size=151936,
            tie_word_embeddings=True,
        ),
        Qwen3Config(
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=4,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=128,
            vocab_size=1000,
        ),
        LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, attention_bias=True),
    ]


@pytest.mark.parametrize("index", range(6))
def test_parameters_are_those_of_the_model_that_transformers_makes(index: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = _configs()[index]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = from_config_json(json.loads(config.to_json_string(use_diff=False)))
    assert shape is not None
    counted = parameters(shape)
    assert counted.total == sum(each.numel() for each in model.parameters())
    head = model.get_output_embeddings()
    layers = [
        (name, each.in_features, each.out_features)
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear) and each is not head
    ]
    assert [tuple(each) for each in linears(shape)] == layers
    assert counted.norms == sum(p.numel() for n, p in model.named_parameters() if "norm" in n)


def test_the_published_sizes_have_the_published_counts() -> None:
    assert parameters(LLAMA_3_8B).total == 8_030_261_248
    assert parameters(LLAMA_3_8B.model_copy(update={"vocabulary": 32000})).total == 7_241_732_096


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "mixtral"},
        {"model_type": "llama", "mlp_bias": True},
        {"model_type": "llama", "hidden_size": 64},
        {"hidden_size": 64},
    ],
)
def test_what_is_not_known_is_not_guessed(values: dict[str, Any]) -> None:
    assert from_config_json(values) is None


def test_heads_that_do_not_fit_are_refused() -> None:
    sizes = {"layers": 1, "hidden": 64, "intermediate": 64, "vocabulary": 8, "context": 8}
    with pytest.raises(ValueError, match="3 key and value heads"):
        Shape(**sizes, heads=4, kv_heads=3)
    with pytest.raises(ValueError, match="give head_dim"):
        Shape(**sizes, heads=3, kv_heads=3)
    assert Shape(**sizes, heads=3, kv_heads=3, head_dim=32).query == 96


def test_a_models_own_shape_goes_before_the_yamls(tiny_base: Path) -> None:
    own = find_shape(str(tiny_base), None)
    assert own is not None
    assert (own.layers, own.hidden, own.tied) == (2, 32, False)
    said_otherwise = own.model_copy(update={"head_dim": 16})
    assert find_shape(str(tiny_base), said_otherwise) == own
    with pytest.raises(ShepherdError) as caught:
        find_shape(str(tiny_base), own.model_copy(update={"layers": 3, "hidden": 64}))
    said = str(caught.value)
    assert said.startswith("shape: layers 3, not 2, hidden 64, not 32")
    assert "--set shape=null" in said
    assert "\n" not in said


def test_a_model_that_is_nowhere_has_the_yamls_shape() -> None:
    assert find_shape("nobody/no-such-model", LLAMA_3_8B) is LLAMA_3_8B
    assert find_shape("nobody/no-such-model", None) is None
    assert find_shape("no such name at all!", LLAMA_3_8B) is LLAMA_3_8B


def test_the_hubs_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "models--some--model"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    (snapshot / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert local_folder("some/model") == snapshot
    assert local_folder("some/other") is None
    assert find_shape("some/model", LLAMA_3_8B) is LLAMA_3_8B


def test_packaged_models_have_a_shape() -> None:
    found = [find_shape(f"embedded:{name}", None) for name in ("weak", "strong", "base")]
    assert [shape and shape.layers for shape in found] == [3, 6, 6]
