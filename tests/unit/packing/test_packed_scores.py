"""Packed scores are those of each solution alone; and what a model cannot do is seen."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from shepherd.errors import ShepherdError
from verifier.config import LoraConfig
from verifier.heads import LabelRows
from verifier.model import TagReader, add_lora, load_base
from verifier.packing import score as scoring
from verifier.packing.allocations import Allocations
from verifier.packing.passes import Packed, Padded, Work, plan_passes
from verifier.packing.read import passes_for, read_pass
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution

KINDS = (Packed, Padded)
VOCABULARY = 1_009
SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "initializer_range": 0.2,  # scores far from one half, which a wrong key would change
}


def _reader(config: PretrainedConfig) -> TagReader:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    return TagReader(model, LabelRows(model.get_output_embeddings(), 7, 8))


@pytest.fixture(scope="module")
def llama() -> TagReader:
    return _reader(LlamaConfig(**SHAPE))


def _solution(ids: list[int]) -> EncodedSolution:
    """Every third token is a tag."""
    return EncodedSolution(np.array(ids, dtype=np.int32), np.arange(2, len(ids), 3, dtype=np.int32))


def _alone(reader: TagReader, each: EncodedSolution) -> NDArray[np.float32]:
    """By the model's own forward, all logits of the vocabulary."""
    if not len(each.ids):
        return np.empty(0, dtype=np.float32)
    with torch.no_grad():
        ids = torch.from_numpy(each.ids.astype(np.int64))[None].to(reader.device)
        logits = reader.model(input_ids=ids).logits[0].cpu()
    good: NDArray[np.float32] = (
        logits[torch.from_numpy(each.tags.astype(np.int64))][:, [7, 8]].float().softmax(-1)[:, 0].numpy()
    )
    return good


POOLS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), max_size=40)), min_size=1, max_size=24
).map(lambda drawn: [_solution([500 + question] * 9 + rest) for question, rest in drawn])


@settings(deadline=None, max_examples=40)
@given(POOLS, st.integers(1, 400), st.randoms(use_true_random=False))
def test_scores_are_those_of_each_solution_alone(
    llama: TagReader, pool: list[EncodedSolution], budget: int, random: Any
) -> None:
    """Whatever the order, the budget and the company; the same text has the same score to the last bit."""
    random.shuffle(pool)
    found = score_packed(llama, pool, budget)
    seen: dict[bytes, NDArray[np.float32]] = {}
    for each, scores in zip(pool, found, strict=True):
        np.testing.assert_allclose(scores, _alone(llama, each), atol=1e-5, rtol=0)
        if budget >= 400:
            first = seen.setdefault(each.ids.tobytes(), scores)
            assert (first == scores).all()


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SHAPE, attention_bias=True, head_dim=20),
        MistralConfig(**SHAPE, sliding_window=None),
        Qwen2Config(**SHAPE),
        Qwen3Config(**SHAPE, head_dim=16),
    ],
    ids=lambda config: config.model_type,
)
def test_architectures_that_pack(config: PretrainedConfig) -> None:
    reader = _reader(config)
    assert reader.packs
    rng = np.random.default_rng(0)
    pool = [_solution([501] * 30 + rng.integers(0, 5, rng.integers(3, 60)).tolist()) for _ in range(12)]
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


@pytest.mark.parametrize("vocabulary", [64, 509, 32_003])
def test_vocabularies_of_any_size(vocabulary: int) -> None:
    reader = _reader(LlamaConfig(**{**SHAPE, "vocab_size": vocabulary}))
    rng = np.random.default_rng(vocabulary)
    question = rng.integers(0, vocabulary, 20).tolist()
    pool = [_solution(question + rng.integers(0, vocabulary, each).tolist()) for each in (5, 30, 30, 61)]
    for each, scores in zip(pool, score_packed(reader, [*pool, *pool], 4096), strict=False):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [("nf4", "float32"), ("nf4", "bfloat16"), ("none", "float32"), ("none", "bfloat16")],
)
def test_4_bit_bases_and_adapters_pack(quantization: str, dtype: str, device: str, tmp_path: Path) -> None:
    """In bfloat16 a score is that of the solution alone within 0.03: a few roundings to 8 bits."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(LlamaConfig(**{**SHAPE, "hidden_size": 64})).save_pretrained(tmp_path)
    base = load_base(str(tmp_path), quantization=quantization, dtype=dtype, device=torch.device(device))
    model = add_lora(base, LoraConfig(rank=4, targets=("q_proj", "v_proj", "up_proj")), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    reader = TagReader(model.eval(), LabelRows(base.get_output_embeddings(), 7, 8))
    assert reader.packs
    rng = np.random.default_rng(0)
    pool = [_solution([501] * 30 + rng.integers(0, 5, rng.integers(3, 60)).tolist()) for _ in range(12)]
    assert type(plan_passes([each.ids for each in pool], 4096, reader.work)[0]) is Packed
    tolerance = 1e-5 if dtype == "float32" else 0.03
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=tolerance, rtol=0)


def test_an_architecture_that_does_not_pack_is_found_out_and_read_in_batches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bloom adds a slope by distance in the row, which positions do not move."""
    config = BloomConfig(hidden_size=48, n_layer=2, n_head=4, vocab_size=VOCABULARY, initializer_range=0.2)
    assert not TagReader(_reader(config).model.to(torch.bfloat16), None).packs  # type: ignore[arg-type]
    reader = _reader(config)
    capsys.readouterr()
    assert not reader.packs
    said = capsys.readouterr().err
    assert said == "BloomForCausalLM reads no packed rows: solutions are read in padded batches\n"
    pool = [_solution([501] * 12 + [each] * 9) for each in range(5)]
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


def test_longer_than_a_sliding_window_is_read_in_batches() -> None:
    reader = _reader(MistralConfig(**SHAPE, sliding_window=8))
    assert reader.packs
    assert reader.window == 8
    pool = [_solution([501] * 12 + [each] * 9) for each in range(5)]
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


def test_beyond_the_positions_of_a_text_alone_nothing_is_packed() -> None:
    """Where rotations change for a whole pass as soon as one text of it is long."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "rope_theta": 1e4}
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 24, **factors}
    reader = _reader(LlamaConfig(**SHAPE, head_dim=8, rope_parameters=rope))
    assert reader.window == 24
    alike = [_solution([501] * 12 + [each] * (8 + 16 * (each % 2))) for each in range(10)]
    apart = [_solution([each] * (24 + 2 * (each % 2))) for each in range(10)]
    assert {len(each.ids) > 24 for each in alike} == {len(each.ids) > 24 for each in apart} == {True, False}
    assert not _kinds(reader, apart)[Packed]
    for pool in (alike, apart):
        for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
            np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


def _kinds(reader: TagReader, pool: list[EncodedSolution]) -> dict[type, list[int]]:
    passes = passes_for(reader, [each.ids[: each.tags[-1] + 1] for each in pool], 4096)
    return {kind: sorted(i for each in passes if type(each) is kind for i in each.members) for kind in KINDS}


def test_one_solution_longer_than_the_window_leaves_the_others_packed() -> None:
    reader = _reader(MistralConfig(**SHAPE, sliding_window=24))
    pool = [_solution([501] * 12 + [each] * 9) for each in range(5)]
    pool.insert(2, _solution([501] * 12 + [1] * 30))
    assert _kinds(reader, pool) == {Packed: [0, 1, 3, 4, 5], Padded: [2]}
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_the_same_where_rows_and_batches_stand_side_by_side(llama: TagReader, seed: int) -> None:
    rng = np.random.default_rng(seed)
    question = rng.integers(0, VOCABULARY, 60).tolist()
    alike = [_solution(question + rng.integers(0, 5, 9 + at).tolist()) for at in range(9)]
    apart = [_solution([1, *rng.integers(10, VOCABULARY, 89).tolist()]) for _ in range(9)]
    pool = [each for pair in zip(alike, apart, strict=True) for each in pair]
    reader = TagReader(llama.model, llama.head)
    reader.__dict__["work"] = Work(1.0, 0.005)
    assert _kinds(reader, pool) == {Packed: list(range(0, 18, 2)), Padded: list(range(1, 18, 2))}
    for each, scores in zip(pool, score_packed(reader, pool, 4096), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)


class _Widths(TorchDispatchMode):
    """Notes the shape of everything that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor):
                self.shapes.add(tuple(each.shape))
        return found


@pytest.mark.parametrize("packs", [True, False])
def test_nothing_as_wide_as_the_vocabulary_is_ever_computed(llama: TagReader, packs: bool) -> None:
    reader = TagReader(llama.model, llama.head)
    reader.__dict__["packs"] = packs
    pool = [_solution([501] * 12 + [each] * 9) for each in range(5)]
    with _Widths() as seen:
        score_packed(reader, pool, 4096)
    assert len(seen.shapes) > 20
    weights = {shape for each in llama.model.parameters() for shape in (each.shape, each.shape[::-1])}
    assert not [shape for shape in seen.shapes - weights if VOCABULARY in shape]
    with _Widths() as seen, torch.no_grad():  # and it would be seen
        llama.model(input_ids=torch.tensor([[1, 2, 3]]))
    assert (1, 3, VOCABULARY) in seen.shapes


@pytest.mark.parametrize("packs", [True, False])
def test_out_of_memory_halves_the_passes_and_goes_on(
    llama: TagReader, packs: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = TagReader(llama.model, llama.head)
    reader.__dict__["packs"] = packs
    rng = np.random.default_rng(0)
    pool = [_solution([501] * 9 + rng.integers(0, 5, 30).tolist()) for _ in range(30)]
    sizes = []

    def small(*arguments: Any) -> Any:
        sizes.append(arguments[1].tokens)
        if sizes[-1] > 130:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return read_pass(*arguments)

    monkeypatch.setattr(scoring, "read_pass", small)
    for each, scores in zip(pool, score_packed(reader, pool, 700), strict=True):
        np.testing.assert_allclose(scores, _alone(reader, each), atol=1e-5, rtol=0)
    said = capsys.readouterr().err.splitlines()
    assert 1 <= len(said) <= 4
    assert all(line.startswith("out of memory on a pass of ") for line in said)
    assert sum(size > 130 for size in sizes) == len(said)  # what was found out is remembered
    score_packed(reader, pool, 700)
    assert not capsys.readouterr().err


def test_one_solution_that_does_not_fit_is_an_error(
    llama: TagReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    reader = TagReader(llama.model, llama.head)
    monkeypatch.setattr(scoring, "read_pass", never)
    with pytest.raises(ShepherdError, match="out of memory on one solution of 12 tokens"):
        score_packed(reader, [_solution([1] * 12), _solution([2] * 12)], 4096)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    ],
    ids=["cuda", "cpu"],
)
def test_no_memory_for_the_trial_is_no_verdict_on_the_model(
    llama: TagReader, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise error

    reader = TagReader(llama.model, llama.head)
    monkeypatch.setattr(reader, "hidden", never)
    with pytest.raises(ShepherdError, match="out of memory on one solution of"):
        score_packed(reader, [_solution([1] * 12)], 4096)
    monkeypatch.undo()
    assert reader.packs


def test_other_errors_are_not_taken_for_memory(llama: TagReader, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    reader = TagReader(llama.model, llama.head)
    monkeypatch.setattr(scoring, "read_pass", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        score_packed(reader, [_solution([1] * 12)], 4096)


def test_memory_decides_how_many_tokens_a_pass_has(llama: TagReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 48 wide states and 1,009 nothing: some thousand bytes a token; half of what is free is used."""
    sizes = {}
    for free in (1 << 21, 1 << 24, 1 << 30, 1 << 40):
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: SimpleNamespace(available=free))
        sizes[free] = TagReader(llama.model, llama.head).room.tokens(1 << 30)
    assert sizes[1 << 24] == 8 * sizes[1 << 21]
    assert 2**24 / 16_384 < sizes[1 << 24] < 2**24 / 512
    assert sizes[1 << 30] == sizes[1 << 40] == 8 * sizes[1 << 24]  # a CPU's caches have no more
    assert TagReader(llama.model, llama.head).room.tokens(100) == 100


@pytest.mark.parametrize(
    ("fixed", "a_token", "free", "tokens"),
    [
        (0, 1 << 10, 1 << 40, 1 << 16),  # as many as the caches hold
        (1 << 28, 1 << 10, 1 << 40, 1 << 16),  # unpacked weights are no token's
        (1 << 28, 1 << 10, (1 << 29) + (1 << 25), 1 << 14),  # and are no room for tokens
        (1 << 28, 1 << 20, 1 << 40, 1 << 10),  # tokens of a large model
        (1 << 28, 1 << 20, 1 << 20, 1 << 8),  # nothing fits: it is tried
    ],
)
def test_a_pass_has_what_its_tokens_take_beside_what_any_pass_takes(
    llama: TagReader, fixed: int, a_token: int, free: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = TagReader(llama.model, llama.head).room
    monkeypatch.setattr(room, "_measure", lambda tokens: (fixed + a_token * tokens, free))
    assert room.tokens(1 << 30) == tokens


def test_memory_that_runs_out_while_it_is_measured_gives_the_smallest_pass(
    llama: TagReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    room = TagReader(llama.model, llama.head).room
    monkeypatch.setattr(room, "_measure", full)
    assert room.tokens(1 << 30) == 256


def test_weights_are_no_part_of_a_pass(llama: TagReader) -> None:
    """Views of weights are made in every pass: only what a pass makes itself is counted."""
    with Allocations() as counted:
        view = llama.body.get_input_embeddings().weight.t()
        assert counted.peak == 0
        made = view.sum(0)
        assert counted.now == counted.peak == made.numel() * made.element_size()
        turned = made[None].t()
        assert counted.now == made.numel() * made.element_size()
        del made, turned
        assert counted.now == 0
        assert counted.peak > 0
