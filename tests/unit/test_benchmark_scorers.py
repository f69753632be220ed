"""What benchmarks/scoring.py compares with computes the same scores, and what it counts is right."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scoring
import torch
from scorers import beside, counts, flex, rate, rivals, rounding
from torch.nn.attention.flex_attention import create_mask
from trainers import base

from verifier.heads import LabelRows
from verifier.model import TagReader
from verifier.packing.score import score_packed
from verifier.packing.tree import lay_out
from verifier.tags import EncodedSolution

CPU = torch.device("cpu")
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1_009,
}


@pytest.fixture(scope="module")
def reader() -> TagReader:
    """Scores far from one half, which a wrong key would change."""
    model = base.random_model(SHAPE, "float32", CPU, "none")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    return TagReader(model, LabelRows(model.lm_head, 7, 8))


@pytest.fixture
def solutions() -> list[EncodedSolution]:
    """Two questions, six candidates each, some of which begin alike; every third token is a tag."""
    rng = np.random.default_rng(0)
    texts = [
        [500 + question] * 20 + rng.integers(0, 2, rng.integers(6, 60)).tolist()
        for question in (0, 1)
        for _ in range(6)
    ]
    return [
        EncodedSolution(np.array(ids, dtype=np.int32), np.arange(2, len(ids), 3, dtype=np.int32))
        for ids in texts
    ]


def test_flex_attention_sees_what_the_row_sees(solutions: list[EncodedSolution]) -> None:
    for row in lay_out([each.ids for each in solutions], budget=160):
        length = len(row) + 7
        mask = create_mask(flex.sees(row, length, CPU), None, None, length, length, device="cpu")[0, 0]
        assert (mask[: len(row), : len(row)].numpy() == row.sees()).all()
        assert mask.sum() == row.sees().sum()  # nobody sees what is added, and it sees nobody


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("budget", [160, 4096])
def test_flex_attention_scores_as_tiles_do(
    reader: TagReader, solutions: list[EncodedSolution], budget: int
) -> None:
    found = flex.score_with_flex(reader, solutions, budget)
    assert rounding.difference(found, score_packed(reader, solutions, budget)) < 1e-5
    assert reader.model.config._attn_implementation == "sdpa"  # as it was before


@pytest.mark.parametrize("size", [1, 5, 64])
def test_rivals_score_as_ours_does(reader: TagReader, solutions: list[EncodedSolution], size: int) -> None:
    mine = score_packed(reader, solutions, 4096)
    assert np.ptp(np.concatenate(mine)) > 0.2
    for rival in (rivals.arrival, rivals.a_step):
        assert rounding.difference(mine, rival(reader.model, solutions, (7, 8), size)) < 1e-5


def test_padded_tokens_are_those_of_batches_as_they_come(solutions: list[EncodedSolution]) -> None:
    some = [
        EncodedSolution(each.ids[:length], each.tags)
        for each, length in zip(solutions, (3, 9, 4, 5), strict=False)
    ]
    assert [counts.padded(some, batch) for batch in (1, 2, 3, 64)] == [21, 28, 32, 36]


def test_another_choice_is_counted_a_problem() -> None:
    """Three problems of two candidates; in the second the best is another; one candidate has no steps."""

    def solution(steps: int) -> EncodedSolution:
        return EncodedSolution(np.arange(9, dtype=np.int32), np.arange(steps, dtype=np.int32))

    encoded = [solution(steps) for steps in (2, 1, 1, 1, 0, 1)]
    mine = [np.array(each, dtype=np.float32) for each in ([0.9, 0.5], [0.4], [0.6], [0.3], [0.1])]
    theirs = [np.array(each, dtype=np.float32) for each in ([0.9, 0.5], [0.4], [0.2], [0.3], [0.1])]
    found = rounding.apart(encoded, 2, mine, theirs)
    assert found["largest"] == pytest.approx(0.4)
    assert found["mean"] == pytest.approx(0.4 / 6)
    assert (found["other_choice"], found["problems"]) == (1, 3)
    assert found["ci95"] == pytest.approx([0.0615, 0.7923], abs=1e-4)  # Wilson (1927), 1 of 3
    assert rounding.chosen(encoded, 2, mine) == [0, 0, 1]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_random_models_are_as_a_loaded_one(quantization: str) -> None:
    """Frozen, in eval mode, the same for the same seed; in 4 bits all but embedding, head and norms."""
    one, same, other = (base.random_model(SHAPE, "bfloat16", CPU, quantization, seed) for seed in (0, 0, 1))
    ids = torch.arange(9)[None]
    with torch.no_grad():
        assert (one(input_ids=ids).logits == same(input_ids=ids).logits).all()
        assert (one(input_ids=ids).logits != other(input_ids=ids).logits).any()
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())
    kinds = {type(layer).__name__ for layer in one.model.layers.modules() if hasattr(layer, "in_features")}
    assert kinds == {"Linear4bit" if quantization == "nf4" else "Linear"}
    assert one.lm_head.weight.dtype == one.model.norm.weight.dtype == torch.bfloat16
    assert TagReader(one, LabelRows(one.lm_head, 7, 8)).packs
    assert rate.matmul_rate(one) > 0


def test_all_but_4_bit_weights_are_rounded() -> None:
    model = base.random_model(SHAPE, "float32", CPU, "nf4")
    packed = model.model.layers[0].mlp.up_proj.weight.clone()
    rounded = rounding.round_all(model)
    assert {each.dtype for each in rounded.parameters()} == {torch.bfloat16, torch.uint8}
    assert (rounded.model.layers[0].mlp.up_proj.weight == packed).all()
    assert rounded.model.layers[0].mlp.up_proj.compute_dtype == torch.bfloat16
    assert rounded(input_ids=torch.arange(9)[None]).logits.dtype == torch.bfloat16


def test_a_card_has_terms_of_its_own() -> None:
    """On a card all have as many goes; on a CPU a pass a step has one, and says so."""
    setting = beside.Setting()
    goes = {
        device: [beside.terms(rival, setting._replace(device=device), 13).goes for rival in both]
        for both in [(rivals.arrival, rivals.a_step)]
        for device in ("cpu", "cuda")
    }
    assert goes == {"cpu": [3, 1], "cuda": [3, 3]}


def test_no_card_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["scoring.py", "--device", "cuda", "--shape", "llama-3-8b"])
    with pytest.raises(SystemExit, match="torch sees no CUDA device here") as found:
        scoring.main()
    assert "\n" not in str(found.value)
