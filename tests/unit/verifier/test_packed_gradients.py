"""Gradients of packed training are those of each solution read alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PretrainedConfig

from shepherd.records import StepRow
from verifier.batches import EncodedRow, EncodedRows, supervised
from verifier.config import LoraConfig
from verifier.gradient import add_gradient
from verifier.heads import LabelRows, make_head
from verifier.heldout import evaluate
from verifier.loss import Loss, PairLoss, StepLoss
from verifier.model import TagReader, add_lora, enable_gradient_checkpointing, load_base
from verifier.packing import attention
from verifier.packing.allocations import Allocations
from verifier.packing.passes import Packed, Padded, Work
from verifier.packing.read import passes_for
from verifier.packing.tree import count_unique

LOSSES: dict[str, tuple[str, Loss]] = {
    "lm-vocab": ("lm", StepLoss("vocab")),
    "lm-pair-weighted": ("lm", StepLoss("pair", (0.7, 1.9))),
    "classifier": ("classifier", StepLoss("pair")),
    "outcome-pointwise": ("outcome", StepLoss("pair")),
    "outcome-pairwise": ("outcome", PairLoss()),
}
PACKED_ONLY = Work(token=1.0, pair=0.0)
"""Tokens alone count, so that a packed row is never more work."""


def _with_adapter(base: Any, head: str, lora: LoraConfig, checkpointing: bool) -> TagReader:
    model = add_lora(base, lora, seed=0, steps=20)
    torch.manual_seed(1)
    with torch.no_grad():  # a fresh adapter's second matrix is 0, and its first one has no gradient
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_E" in name:
                parameter.normal_(std=0.1)
    if checkpointing:
        enable_gradient_checkpointing(model)
    rows = LabelRows(model.get_base_model().get_output_embeddings(), 3, 4)
    own = rows if head == "lm" else make_head(head, base.config.hidden_size, 0.2)  # type: ignore[arg-type]
    reader = TagReader(model, own)
    model.train()
    assert reader.packs
    reader.__dict__["work"] = PACKED_ONLY
    return reader


@cache
def _llama(vocabulary: int, head: str, *, checkpointing: bool = False) -> TagReader:
    """With fewer key heads than query heads, as most Llamas."""
    return _with_adapter(_base(vocabulary), head, LoraConfig(rank=4, alpha=8), checkpointing)


def _base(vocabulary: int, kind: type[PretrainedConfig] = LlamaConfig, **changes: Any) -> Any:
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = kind(
        **{**sizes, "num_key_value_heads": 2, "vocab_size": vocabulary, "initializer_range": 0.1, **changes}
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).requires_grad_(requires_grad=False)


def _parameters(reader: TagReader) -> list[torch.nn.Parameter]:
    own = list(reader.head.parameters()) if isinstance(reader.head, torch.nn.Module) else []
    return [p for p in (*reader.model.parameters(), *own) if p.requires_grad]


def _taken(reader: TagReader) -> Tensor:
    """The gradient as one vector, which is cleared."""
    parameters = _parameters(reader)
    found = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters])
    for parameter in parameters:
        parameter.grad = None
    return found


def _alone(reader: TagReader, loss: Loss, batches: list[list[EncodedRow]]) -> tuple[float, Tensor]:
    """The mean loss and its gradient, every row read by the model's own forward in a batch of its own."""
    summands = []
    for rows in batches:
        hidden = torch.cat(
            [
                reader.body(input_ids=torch.from_numpy(row.ids)[None].long()).last_hidden_state[
                    0, supervised(row).tags
                ]
                for row in rows
            ]
        )
        targets = torch.from_numpy(np.concatenate([supervised(row).labels for row in rows]))
        questions = [row.row.question for row in rows for _ in supervised(row).tags]
        summands.append(loss.losses(loss.values(reader, hidden), targets, questions))
    mean = torch.cat(summands).mean()
    mean.backward()
    return float(mean.detach()), _taken(reader)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _rows(rng: np.random.Generator, vocabulary: int, questions: int, solutions: int) -> list[EncodedRow]:
    """Right and wrong solutions of some questions; few different tokens, so that steps repeat."""
    made = []
    for question in range(questions):
        beginning = rng.integers(0, vocabulary, rng.integers(1, 30))
        for number in range(solutions):
            steps = int(rng.integers(1, 6))
            ends = np.cumsum(rng.integers(1, 9, steps)) + len(beginning) - 1
            rest = rng.integers(0, min(vocabulary, 2), int(ends[-1]) + 1 - len(beginning))
            labels = rng.choice([0.0, 0.25, 1.0, np.nan], steps)
            labels[-1] = number % 2  # for pairs, and so that each row has a label
            made.append(
                EncodedRow(
                    np.concatenate([beginning, rest]).astype(np.int32),
                    ends.astype(np.int32),
                    labels.astype(np.float32),
                    StepRow(f"q{question}", ("s",), (1.0,)),
                )
            )
    return made


def _last_only(row: EncodedRow) -> EncodedRow:
    """As an outcome head is supervised."""
    labels = np.full_like(row.labels, np.nan)
    labels[-1] = row.labels[-1]
    return EncodedRow(row.ids, row.tags, labels, row.row)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
@settings(deadline=None, max_examples=5)
@given(
    seed=st.integers(0, 2**32 - 1),
    vocabulary=st.sampled_from([7, 97, 1009]),
    questions=st.integers(1, 3),
    solutions=st.integers(2, 7),
    batch_tokens=st.sampled_from([40, 200, 4096]),
)
def test_a_step_has_the_gradient_of_its_rows_read_alone(
    kind: str,
    checkpointing: bool,
    seed: int,
    vocabulary: int,
    questions: int,
    solutions: int,
    batch_tokens: int,
) -> None:
    head, loss = LOSSES[kind]
    rng = np.random.default_rng(seed)
    batches = [_rows(rng, vocabulary, questions, solutions) for _ in range(2)]
    if head == "outcome":
        batches = [[_last_only(row) for row in batch] for batch in batches]
    reader = _llama(vocabulary, head, checkpointing=checkpointing)
    mean, expected = _alone(reader, loss, batches)
    found = add_gradient(reader, loss, batches, batch_tokens, pad_id=0)
    assert found.loss == pytest.approx(mean, rel=1e-5, abs=1e-6)
    assert _error(_taken(reader), expected) < 1e-4
    if batch_tokens == 4096:
        groups = batches if loss.couples else [[row for batch in batches for row in batch]]
        assert found.tokens_read == sum(count_unique([row.ids for row in group]) for group in groups)


@pytest.mark.parametrize("kind", ["lm-vocab", "outcome-pairwise"])
def test_rows_beside_batches_have_the_gradient_too(kind: str) -> None:
    """Rows longer than a sliding window are read in batches, the others packed; so is what is held out."""
    head, loss = LOSSES[kind]
    rng = np.random.default_rng(5)
    rows = _rows(rng, 97, 3, 6)
    if head == "outcome":
        rows = [_last_only(row) for row in rows]
    window = int(np.median([len(row.ids) for row in rows]))
    base = _base(97, MistralConfig, sliding_window=window)
    reader = _with_adapter(base, head, LoraConfig(rank=4, alpha=8), checkpointing=False)
    assert {type(each) for each in passes_for(reader, [row.ids for row in rows], 4096)} == {Packed, Padded}
    mean, expected = _alone(reader, loss, [rows])
    found = add_gradient(reader, loss, [rows], 4096, pad_id=0)
    assert found.loss == pytest.approx(mean, rel=1e-5)
    assert _error(_taken(reader), expected) < 1e-4
    held_out = evaluate(reader, EncodedRows(rows, 0, 0, 0, 0), loss=loss, batch_tokens=4096, pad_id=0)
    assert held_out.loss == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_attention_is_computed_twice_a_step_whatever_is_recomputed(
    checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once forward, once more in the backward pass: by itself, or with its layer."""
    reader = _llama(97, "lm", checkpointing=checkpointing)
    calls = []

    def counted(*arguments: Any, **options: Any) -> Tensor:
        calls.append(1)
        return over_tiles(*arguments, **options)

    over_tiles = attention._over_tiles
    monkeypatch.setattr(attention, "_over_tiles", counted)
    rows = _rows(np.random.default_rng(0), 97, 2, 4)
    add_gradient(reader, LOSSES["lm-vocab"][1], [rows], 4096, pad_id=0)
    assert len(calls) == 2 * reader.model.config.num_hidden_layers
    _taken(reader)


def test_what_tiles_gather_is_kept_of_one_layer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer more keeps its input and no more; the peak grows by less than a tenth."""
    rows = _rows(np.random.default_rng(0), 97, 20, 12)
    loss, lora = LOSSES["lm-vocab"][1], LoraConfig(rank=4)

    def peak(layers: int) -> int:
        reader = _with_adapter(_base(97, num_hidden_layers=layers), "lm", lora, checkpointing=True)
        with Allocations() as counted:
            found = add_gradient(reader, loss, [rows], 4096, pad_id=0)
        assert found.tokens_read == tokens
        return counted.peak

    tokens = count_unique([row.ids for row in rows])
    few, many = peak(2), peak(6)
    assert many - few == pytest.approx(4 * 48 * 4 * tokens, rel=0.02)
    monkeypatch.setattr(attention, "_IN_A_RECOMPUTED_LAYER", attention.NAME)
    assert many < 1.1 * peak(6)


def test_it_would_be_seen_if_solutions_saw_each_other() -> None:
    """The same rows behind one another without their tree: the error is nowhere near the tolerance."""
    rng = np.random.default_rng(0)
    rows = _rows(rng, 97, 1, 4)
    reader = _llama(97, "lm")
    loss = StepLoss("vocab")
    _, expected = _alone(reader, loss, [rows])
    ids = np.concatenate([row.ids for row in rows])
    starts = np.cumsum([0, *(len(row.ids) for row in rows[:-1])])
    tags = np.concatenate([row.tags + start for row, start in zip(rows, starts, strict=True)])
    labels = np.concatenate([row.labels for row in rows])
    add_gradient(reader, loss, [[EncodedRow(ids, tags.astype(np.int32), labels, rows[0].row)]], 4096, 0)
    assert _error(_taken(reader), expected) > 0.01


@pytest.mark.parametrize("kind", ["lora", "adalora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_on_a_4_bit_base_too(tiny_base: Path, checkpointing: bool, kind: Any) -> None:
    base = load_base(str(tiny_base), quantization="nf4", dtype="float32", device=torch.device("cpu"))
    reader = _with_adapter(base, "lm", LoraConfig(kind=kind, rank=4, alpha=8), checkpointing)
    rng = np.random.default_rng(3)
    for _ in range(3):
        batches = [_rows(rng, 250, 2, 4)]
        mean, expected = _alone(reader, LOSSES["lm-vocab"][1], batches)
        found = add_gradient(reader, LOSSES["lm-vocab"][1], batches, 4096, pad_id=0)
        assert found.loss == pytest.approx(mean, rel=1e-5)
        assert _error(_taken(reader), expected) < 1e-4


def test_probing_whether_a_model_packs_draws_nothing_and_drops_nothing_out(tiny_base: Path) -> None:
    """In training mode with dropout: the model is compared with itself as it scores, and left as it was."""
    base = load_base(str(tiny_base), quantization="none", dtype="float32", device=torch.device("cpu"))
    reader = _with_adapter(base, "lm", LoraConfig(rank=4, alpha=8, dropout=0.5), checkpointing=False)
    state = torch.get_rng_state()
    fresh = TagReader(reader.model, reader.head)
    assert fresh.packs
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in reader.body.modules())
