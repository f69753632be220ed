"""Pretraining of the embedded models: what its objective is made of, and that a seed gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from generation.embedded.objective import IGNORED, Batch, Objective, expectations
from generation.embedded.pretrain import PretrainConfig, pretrain
from shepherd.assets import asset

TINY = PretrainConfig(
    layers=3, width=32, heads=2, feed_forward=48, rows=1_000, batch_tokens=512, exit_layer=1
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(asset("base"))


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    pretrain(TINY.model_copy(update={"save_shares": (0.5,)}), tokenizer, folder)
    return folder


def test_it_learns_at_the_exit_as_at_the_end(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [100 * k for k in range(1, len(log) + 1)]
    assert len(log) >= 2
    for part in ("loss", "exit"):
        assert log[-1][part] < 0.8 * log[0][part], part
    assert all(row["expected_token"] >= 0 and row["expected_step"] >= 0 for row in log)


def test_moments_are_models_of_their_own(trained: Path) -> None:
    middle = LlamaForCausalLM.from_pretrained(trained / "at-0.5").state_dict()
    end = LlamaForCausalLM.from_pretrained(trained).state_dict()
    assert middle.keys() == end.keys()
    assert not torch.equal(middle["lm_head.weight"], end["lm_head.weight"])


def test_same_seed_same_weights(tokenizer, tmp_path: Path) -> None:
    few = TINY.model_copy(update={"rows": 60})
    for name in ("a", "b"):
        pretrain(few, tokenizer, tmp_path / name)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert one == other
    pretrain(few.model_copy(update={"seed": 1}), tokenizer, tmp_path / "c")
    assert (tmp_path / "c" / "model.safetensors").read_bytes() != one


def test_the_exit_says_what_a_model_cut_there_says(trained: Path) -> None:
    """``exit`` is the loss of the model's first layer alone, under the same norm and head."""
    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).eval()
    ids = torch.randint(3, 300, (2, 20), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, :8] = IGNORED
    with torch.no_grad():
        parts = Objective(1, 32, tag_id=7)(model, Batch(ids, labels))
        model.model.layers = model.model.layers[:1]
        logits = model(input_ids=ids).logits
    expected = torch.nn.functional.cross_entropy(logits[:, 7:-1].flatten(0, 1), ids[:, 8:].flatten())
    assert torch.isclose(parts["exit"], expected, atol=1e-5)


def test_a_probe_that_knows_nothing_has_the_divergence_from_a_coin(trained: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).eval()
    ids = torch.randint(3, 300, (1, 30), generator=torch.Generator().manual_seed(0))
    ids[0, [12, 29]] = 7
    labels = ids.clone()
    labels[:, :8] = IGNORED
    with torch.no_grad():
        parts = Objective(1, 32, tag_id=7)(model, Batch(ids, labels))
        model.model.layers = model.model.layers[:1]
        logs = model(input_ids=ids).logits[0, 7:-1].log_softmax(-1)
    expected = (logs[range(22), ids[0, 8:]] - logs.max(1).values).exp()
    least = torch.stack([expected[:5].min(), expected[5:].min()])
    for part, share in {"expected_token": expected, "expected_step": least}.items():
        coin = (share * (2 * share).log() + (1 - share) * (2 * (1 - share).clamp(min=1e-12)).log()).mean()
        assert torch.isclose(parts[part], coin, atol=1e-4), part


def test_the_question_is_not_learnt(trained: Path) -> None:
    """``loss`` is the cross-entropy over the solution's tokens and no others."""
    model = LlamaForCausalLM.from_pretrained(trained, dtype=torch.float32).eval()
    ids = torch.randint(3, 300, (2, 20), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :8] = IGNORED
    labels[1, :13] = IGNORED
    with torch.no_grad():
        parts = Objective(None, 32, tag_id=7)(model, Batch(ids, labels))
        logits = model(input_ids=ids).logits
    states = torch.cat([logits[0, 7:-1], logits[1, 12:-1]])
    expected = torch.nn.functional.cross_entropy(states, torch.cat([ids[0, 8:], ids[1, 13:]]))
    everything = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert set(parts) == {"loss"}
    assert torch.isclose(parts["loss"], expected, atol=1e-5)
    assert not torch.isclose(parts["loss"], everything, atol=1e-3)


def test_expectation_of_a_step_is_its_least_expected_token() -> None:
    logs = torch.randn(9, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    tags = torch.zeros(9, dtype=torch.bool)
    tags[[2, 5, 8]] = True
    token, step = expectations(logs, targets, tags)
    by_hand = [float((logs[i, t] - logs[i].max()).exp()) for i, t in enumerate(targets)]
    assert torch.allclose(token, torch.tensor(by_hand))
    assert torch.allclose(step, torch.tensor([min(by_hand[i : i + 3]) for i in (0, 3, 6)]))
