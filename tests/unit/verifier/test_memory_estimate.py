"""The memory estimate: its arithmetic by hand, and its sums against what the real code allocates."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking import stand_in

from shepherd.errors import ShepherdError
from verifier.config import TrainPrmConfig
from verifier.estimate import (
    GIB,
    Adapter,
    Base,
    Batch,
    Estimate,
    Part,
    Step,
    adapted_linears,
    sampling_memory,
    scoring_memory,
    scoring_tokens,
    training_memory,
)
from verifier.estimate.parts import CONTEXT_BYTES, USABLE
from verifier.estimate.training import optimizer_part, pageable_bytes
from verifier.estimate.weights import packed_bytes
from verifier.packing.allocations import Allocations
from verifier.packing.budget import LEAST_TOKENS
from verifier.shape import Shape

SHAPE = Shape(layers=4, hidden=256, intermediate=640, heads=8, kv_heads=2, vocabulary=2000, context=1024)
LLAMA_3_8B = Shape(
    layers=32, hidden=4096, intermediate=14336, heads=32, kv_heads=8, vocabulary=128256, context=8192
)


def _adapter(shape: Shape = SHAPE, targets: Any = "all-linear", rank: int = 8) -> Adapter:
    return Adapter(rank, adapted_linears(shape, targets))


def _step(**changes: Any) -> Step:
    given = {"tokens": 1024, "tags": 40, "loss": "vocab", "optimizer": "adamw_torch", "accumulation": 2}
    return Step(**{**given, "gradient_checkpointing": True, **changes})


def _part(estimate: Estimate, name: str) -> Part:
    return next(part for part in estimate.parts if part.name == name)


def test_four_bits_and_their_scales() -> None:
    # 128 x 128 numbers: half a byte each; 256 scales of a byte, in one block with one fp32 scale; one fp32
    # mean.
    assert packed_bytes(128 * 128, "nf4") == 8192 + 256 + 4 + 4
    assert packed_bytes(128 * 128, "nf4-single") == 8192 + 256 * 4


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
@settings(max_examples=20)
def test_packed_bytes_are_those_that_bitsandbytes_makes(rows: int, columns: int, double: bool) -> None:
    import torch
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(
        torch.zeros(2 * rows, columns), compress_statistics=double, quant_type="nf4"
    )
    scales = state.absmax.nbytes + (state.state2.absmax.nbytes + state.offset.nbytes if double else 0)
    expected = packed_bytes(2 * rows * columns, "nf4" if double else "nf4-single")
    assert packed.nbytes + scales == expected


def test_an_adapter_is_counted_as_peft_makes_it(tiny_base: Path) -> None:
    import torch

    from verifier.config import LoraConfig
    from verifier.model import add_lora, load_base, trainable_parameters
    from verifier.shape import find_shape

    shape = find_shape(str(tiny_base), None)
    assert shape is not None
    for targets in ("all-linear", r".*layers\.1\..*_proj", ("q_proj", "mlp.up_proj")):
        base = load_base(str(tiny_base), quantization="none", dtype="float32", device=torch.device("cpu"))
        model = add_lora(base, LoraConfig(rank=4, targets=targets), seed=0)
        made = sum(each.numel() for each in trainable_parameters(model))
        assert Adapter(4, adapted_linears(shape, targets)).parameters == made, targets
    with pytest.raises(ShepherdError, match=r"lora\.targets"):
        adapted_linears(shape, ("no_proj",))


def test_an_adaptive_adapter_has_its_singular_values_and_their_importance() -> None:
    import peft
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 4, "num_attention_heads": 8}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=2000))
        config = peft.AdaLoraConfig(init_r=12, target_r=8, target_modules="all-linear", total_step=10)
        adapted = peft.get_peft_model(model, config)
    adapter = Adapter(12, adapted_linears(SHAPE, "all-linear"), adaptive=True)
    assert adapter.parameters == sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    base = Base(SHAPE, "nf4", "float32")
    more = training_memory(base, adapter, _step())
    assert _part(more, "importance of ranks").bytes == 3 * 4 * adapter.parameters
    plain = training_memory(base, adapter._replace(adaptive=False), _step())
    assert more.total > plain.total + 12 * plain.parts[2].bytes // 4


@pytest.mark.parametrize(
    ("optimizer", "bytes_"),
    [
        ("adamw_torch", 8),
        ("muon", 4),
        ("paged_adamw_32bit", 8),
        ("adamw_8bit", 2 + 8 / 256),
        ("paged_adamw_8bit", 2 + 8 / 256),
    ],
)
def test_optimizer_state(optimizer: str, bytes_: float) -> None:
    adapter = Adapter(64, adapted_linears(LLAMA_3_8B, "all-linear"))
    part = optimizer_part(adapter, optimizer)
    assert part.bytes == pytest.approx(bytes_ * adapter.parameters)
    paged = pageable_bytes(adapter, optimizer)
    assert (paged > 0) == optimizer.startswith("paged")
    assert paged <= part.bytes


def test_llama_3_8b_fits_24_gib_and_its_parts_are_the_total() -> None:
    step = _step(tokens=8192, tags=328, optimizer="paged_adamw_8bit", accumulation=4)
    adapter = Adapter(64, adapted_linears(LLAMA_3_8B, "all-linear"))
    estimate = training_memory(Base(LLAMA_3_8B, "nf4", "bfloat16"), adapter, step)
    assert adapter.parameters == 167_772_160
    assert estimate.fits(24 * GIB)
    assert not estimate.fits(12 * GIB)
    assert estimate.total == sum(part.bytes for part in estimate.parts if part.at_peak)
    # 6.98e9 numbers of half a byte, a scale of a byte a 64, and of four a 64 times 256
    linear = 6_979_321_856
    assert _part(estimate, "4-bit base").bytes == pytest.approx(linear * (0.5 + 1 / 64 + 4 / 16384), rel=1e-6)
    whole = training_memory(Base(LLAMA_3_8B, "none", "bfloat16"), adapter, step)
    assert not whole.fits(16 * GIB)
    # In fp32, which is what a cast of the embedding would turn all computing to, it is far more.
    wide = training_memory(Base(LLAMA_3_8B, "nf4", "float16"), adapter, step)
    assert wide.total - estimate.total > 4 * GIB


@given(st.integers(1, 64), st.integers(64, 4096), st.sampled_from(["nf4", "none"]), st.booleans())
def test_more_work_is_never_less(tags: int, tokens: int, quantization: str, checkpointing: bool) -> None:
    base = Base(SHAPE, quantization, "bfloat16")

    def total(**changes: Any) -> int:
        step = _step(tokens=tokens, tags=tags, gradient_checkpointing=checkpointing)
        return training_memory(base, _adapter(), step._replace(**changes)).total

    assert total() <= total(tokens=tokens + 64)
    assert total() <= total(tags=tags + 100)
    assert total(accumulation=1) <= total()
    assert total(gradient_checkpointing=True) <= total(gradient_checkpointing=False)


def test_logits_are_the_worst_moment_where_layers_are_small() -> None:
    wordy = SHAPE.model_copy(update={"vocabulary": 128256})
    estimate = training_memory(Base(wordy, "nf4", "float32"), _adapter(), _step(tokens=64, tags=64))
    assert _part(estimate, "logits").at_peak
    assert not _part(estimate, "activations: one layer at work").at_peak
    pair = training_memory(Base(SHAPE, "nf4", "float32"), _adapter(), _step(loss="pair"))
    assert not _part(pair, "logits").at_peak


# --- against what is allocated --------------------------------------------------------------------


CASES = [
    {},
    {"gradient_checkpointing": False},
    {"gradient_checkpointing": False, "pass_tokens": 512},
    {"dtype": "float32"},
    {"quantization": "none", "accumulation": 1},
    {"quantization": "none", "dtype": "float32", "loss": "pair", "optimizer": "adamw_torch"},
    {"group_by": "question", "gradient_checkpointing": False},
    {"group_by": "question"},
    {"group_by": "question", "dtype": "float32"},
    {"optimizer": "muon", "gradient_checkpointing": False, "lora": {"targets": ("q_proj", "v_proj")}},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "fake"),
    [({}, True), *((changes, False) for changes in CASES)],
    ids=["fake", *("-".join(changes) or "shipped" for changes in CASES)],
)
@pytest.mark.filterwarnings("ignore")  # torch warns of fake tensors and of numbers in them
def test_the_estimate_is_within_a_tenth_of_the_real_step(changes: dict[str, Any], fake: bool) -> None:
    from verifier.plan import memory_of
    from verifier.prepare import prepare
    from verifier.training import Trainer

    config = TrainPrmConfig(
        **{
            "limit": 60,
            "dtype": "bfloat16",
            "gradient_checkpointing": True,
            "optimizer": "paged_adamw_8bit",
            "lora": {"rank": 16},
            "batch_tokens": 2048,
            "accumulation": 2,
            "max_steps": 2,
            "device": "cpu",
            **changes,
        }
    )
    prepared = prepare(config)
    run = SimpleNamespace(path=Path(tempfile.mkdtemp()), log=lambda _: None, metric=lambda **_: None)
    tensors = stand_in.fake_tensors() if fake else nullcontext()
    counted, bases = Allocations(), stand_in.bases_from(SHAPE, fake)
    with tensors, counted, bases:
        trainer = Trainer(prepared, run)
        trainer.model.train()
        counted.restart()
        for step in range(2):
            trainer._step(step)
    adapter = Adapter(config.lora.rank, adapted_linears(SHAPE, config.lora.targets))
    base = Base(SHAPE, config.quantization, config.dtype)
    estimate = memory_of(config, prepared, base, adapter)
    assert estimate.total == pytest.approx(counted.peak, rel=0.1)


def test_a_long_row_counts_in_whatever_step_it_stands() -> None:
    """Passes shorter than it do not cut it, and steps with more tokens may all be of shorter rows."""
    from verifier.plan import memory_of
    from verifier.prepare import prepare

    config = TrainPrmConfig(limit=60, device="cpu", lora={"rank": 4}, pass_tokens=32)
    prepared = prepare(config)
    short, *_, long = np.argsort(prepared.train.lengths)
    full = [np.array([short] * 16)] * 12
    base, adapter = Base(SHAPE, "none", "float32"), _adapter(rank=4)
    without, beside = (
        memory_of(config, replace(prepared, plan=plan), base, adapter).total
        for plan in (full, [*full, np.array([long])])
    )
    alone = memory_of(config, replace(prepared, plan=[np.array([long])]), base, adapter).total
    assert prepared.train.lengths[long] < 16 * prepared.train.lengths[short]
    assert without < beside == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "top_p", "temperature"),
    [("float32", 1.0, 1.0), ("bfloat16", 0.9, 1.0), ("float32", 1.0, 0.01), ("bfloat16", 0.9, 0.01)],
)
def test_the_estimate_is_within_a_tenth_of_a_real_batch(
    monkeypatch: pytest.MonkeyPatch, dtype: str, top_p: float, temperature: float
) -> None:
    """At a low temperature candidates begin alike and branch late, so that it takes less, and never more."""
    import torch

    from generation.engines import Prompt, Sampling
    from generation.engines.transformers import TransformersEngine
    from verifier.model import load_tokenizer

    batch = Batch(problems=4, n=8, prompt_tokens=48, new_tokens=100, top_p=top_p)
    monkeypatch.setattr("generation.engines.transformers.encode", lambda *_: list(range(10, 58)))
    sampled: list[list[int]] = []

    def keep(_: Any, rows: Any) -> list[str]:
        sampled.extend(list(row) for row in rows)
        return [""] * len(rows)

    monkeypatch.setattr("generation.engines.transformers.decode", keep)
    with Allocations() as allocations:
        model = stand_in.build(SHAPE, quantization="none", dtype=dtype, device=torch.device("cpu"))
        engine = TransformersEngine(model.eval(), load_tokenizer("embedded:base"), "stand-in")
        engine.ends = torch.tensor([SHAPE.vocabulary])  # nothing ends before its last token
        allocations.restart()
        prompts = [Prompt(str(number), "") for number in range(batch.problems)]
        sampling = Sampling(max_new_tokens=batch.new_tokens, top_p=top_p, temperature=temperature)
        engine.generate(prompts, batch.n, sampling, seed=0)
    estimate = sampling_memory(Base(SHAPE, "none", dtype), batch)
    begun, ended = (len({tuple(each[:tokens]) for each in sampled}) for tokens in (1, batch.new_tokens))
    assert len(sampled) == batch.rows
    if temperature == 1:
        assert begun > batch.rows / 2
        assert estimate.total == pytest.approx(allocations.peak, rel=0.1)
    else:
        assert begun < batch.rows / 2 < ended
        assert 0.5 * estimate.total < allocations.peak <= estimate.total


SCORED = [
    ("none", "float32", False),
    ("none", "bfloat16", True),
    ("nf4", "float32", True),
    ("nf4", "bfloat16", False),
]


@pytest.mark.parametrize("question", [0, 100, 600])
@pytest.mark.parametrize(("quantization", "dtype", "adapted"), SCORED)
def test_the_estimate_is_within_a_tenth_of_a_real_scoring_pass(
    quantization: str,
    dtype: str,
    adapted: bool,
    question: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A padded batch of 19 solutions, and packed rows in which they share a question."""
    import torch

    from verifier.config import LoraConfig
    from verifier.heads import LabelRows
    from verifier.model import TagReader, add_lora
    from verifier.packing.passes import Packed, Padded, Pass
    from verifier.packing.read import read_pass
    from verifier.packing.tree import lay_out

    base = stand_in.build(SHAPE, quantization=quantization, dtype=dtype, device=torch.device("cpu"))
    model = add_lora(base, LoraConfig(rank=16), seed=0) if adapted else base
    reader = TagReader(model.eval(), LabelRows(base.get_output_embeddings(), 7, 8))
    rng = np.random.default_rng(0)
    shared = rng.integers(0, SHAPE.vocabulary, question)
    solutions = [np.concatenate([shared, rng.integers(0, SHAPE.vocabulary, 100)]) for _ in range(19)]
    each: Pass = Padded(range(19), 100)
    keys = 0
    if question:
        (row,) = lay_out(solutions, 4096)
        each = Packed(row)
        keys = each.tiles.keys.shape[1]
    with torch.no_grad():
        read_pass(reader, each, solutions, [np.array([50, 99])] * 19)  # buffers that any first pass makes
        with Allocations() as allocations:
            read_pass(reader, each, solutions, [np.array([50, 99])] * 19)
    base_of, adapter = Base(SHAPE, quantization, dtype), _adapter(rank=16) if adapted else None
    weights = sum(part.bytes for part in base_of.parts()) + (adapter.part().bytes if adapter else 0)
    estimate = scoring_memory(base_of, adapter, each.tokens, keys)
    assert estimate.total - weights == pytest.approx(allocations.peak, rel=0.1)
    # And as many tokens as the room that is measured: on this machine's kind, and where little is free.
    for free in (1 << 26, 1 << 40):
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: SimpleNamespace(available=free))
        planned = scoring_tokens(base_of, adapter, 1 << 30, round((free + weights) / USABLE), on_cpu=True)
        assert planned == TagReader(reader.model, reader.head).room.tokens(1 << 30)
    assert scoring_tokens(base_of, adapter, 1 << 30, 80 * GIB, on_cpu=False) > planned
    assert scoring_tokens(base_of, adapter, 100, 80 * GIB, on_cpu=False) == 100


def test_what_is_held_beside_a_scoring_pass_is_no_room_for_it() -> None:
    base, adapter = Base(SHAPE, "nf4", "bfloat16"), _adapter(rank=4096)
    weights = sum(part.bytes for part in base.parts()) + adapter.part().bytes
    for on_cpu, held in ((True, weights), (False, weights + CONTEXT_BYTES)):
        full = round(held / USABLE)
        assert scoring_tokens(base, adapter, 1 << 30, full, on_cpu=on_cpu) == LEAST_TOKENS
        assert scoring_tokens(base, adapter, 1 << 30, full + 64 * GIB, on_cpu=on_cpu) > LEAST_TOKENS


def test_scoring_and_sampling_by_hand() -> None:
    base = Base(SHAPE, "none", "float32")
    weights = sum(part.bytes for part in base.parts())
    scoring = scoring_memory(base, None, tokens=100)
    assert scoring.total - weights == 100 * 4 * (4 * 256 + 3 * 640)
    batch = Batch(problems=2, n=4, prompt_tokens=10, new_tokens=65, top_p=1.0)
    sampling = sampling_memory(base, batch)
    token = 2 * 2 * 32 * 4  # keys and values of 2 heads of 32 numbers of 4 bytes, in one layer
    assert _part(sampling, "KV cache: prompts").bytes == 2 * 10 * 4 * token
    # Room comes 64 tokens at a time: 65 need 128; one layer grows beside its old 64.
    assert _part(sampling, "KV cache: candidates").bytes == 8 * 128 * (4 + 1) * token
