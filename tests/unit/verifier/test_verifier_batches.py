"""Tokens and plan: truncation by whole steps, batches that hold every row once, held-out questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier.batches import (
    EncodedRow,
    collate,
    encode_rows,
    fixed_batches,
    make_plan,
    plan_digest,
    shuffle_labels,
)
from verifier.data.corpus import corpus_of
from verifier.heldout import split_by_question
from verifier.split import first_questions
from verifier.tags import resolve


def _row(*labels: float | None, question: str = "How many?") -> StepRow:
    return StepRow(question, tuple(f"Step {i}: {i} + 1 = 2." for i in range(1, len(labels) + 1)), labels)


def test_truncation_drops_whole_steps_and_counts_them(tiny_tokenizer: Any) -> None:
    contract = resolve(tiny_tokenizer)
    whole = encode_rows([_row(1.0, 0.0, 1.0)], tiny_tokenizer, contract, 1000).rows[0]
    # One token short of the third tag.
    cut = encode_rows([_row(1.0, 0.0, 1.0)], tiny_tokenizer, contract, int(whole.tags[2]))
    assert cut.rows[0].tags.tolist() == whole.tags[:2].tolist()
    assert len(cut.rows[0].ids) == whole.tags[1] + 1
    assert cut.rows[0].labels.tolist() == [1.0, 0.0]
    assert (cut.steps_cut, cut.rows_cut, cut.rows_too_long) == (1, 1, 0)
    none_left = encode_rows([_row(1.0, 0.0, 1.0)], tiny_tokenizer, contract, int(whole.tags[0]))
    assert (len(none_left.rows), none_left.steps_cut, none_left.rows_too_long) == (0, 3, 1)
    at_the_edge = encode_rows([_row(1.0, 0.0, 1.0)], tiny_tokenizer, contract, int(whole.tags[2]) + 1)
    assert at_the_edge.steps_cut == 0


def test_null_labels_are_no_targets_and_soft_ones_are_kept(tiny_tokenizer: Any) -> None:
    contract = resolve(tiny_tokenizer)
    rows = encode_rows([_row(None, 0.25, None), _row(None, None), _row(1.0)], tiny_tokenizer, contract, 1000)
    assert rows.rows_unlabelled == 1
    # Nothing is read after the last labelled step.
    assert len(rows.rows[0].ids) == rows.rows[0].tags[1] + 1
    batch = collate(rows.rows, pad_id=0)
    assert batch.targets.tolist() == [0.25, 1.0]
    assert (batch.ids.flatten()[batch.at] == contract.tag_id).all()
    assert batch.at.tolist() == [int(rows.rows[0].tags[1]), batch.ids.shape[1] + int(rows.rows[1].tags[0])]


def test_a_batch_without_a_supervised_step_is_an_error() -> None:
    row = EncodedRow(
        np.zeros(3, np.int32), np.array([2], np.int32), np.array([np.nan], np.float32), _row(None)
    )
    with pytest.raises(ShepherdError, match="no supervised step"):
        collate([row], pad_id=0)


_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)
_lengths_read = st.lists(st.integers(0, 60), min_size=1, max_size=300).map(np.array)


@given(_lengths, st.integers(1, 400), st.one_of(st.none(), st.integers(1, 9)), st.integers(0, 3))
def test_an_epoch_reads_every_row_once(
    lengths: Any, batch_tokens: int, batch_solutions: int | None, seed: int
) -> None:
    options = {"batch_tokens": batch_tokens, "batch_solutions": batch_solutions, "seed": seed}
    plan = make_plan(lengths, epochs=2, **options)  # type: ignore[arg-type]
    seen = np.concatenate(plan)
    assert np.bincount(seen, minlength=len(lengths)).tolist() == [2] * len(lengths)
    for batch in plan:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= batch_tokens
        assert batch_solutions is None or len(batch) <= batch_solutions
    again = make_plan(lengths, epochs=2, **options)  # type: ignore[arg-type]
    assert [batch.tolist() for batch in plan] == [batch.tolist() for batch in again]


def test_epochs_differ_and_parts_of_epochs_are_parts_of_batches() -> None:
    lengths = np.full(100, 10)
    options: dict[str, Any] = {"batch_tokens": 100, "batch_solutions": None, "seed": 0}
    plan = make_plan(lengths, epochs=2, **options)
    assert len(plan) == 20
    assert [batch.tolist() for batch in plan[:10]] != [batch.tolist() for batch in plan[10:]]
    assert len(make_plan(lengths, epochs=1.5, **options)) == 15
    assert len(make_plan(lengths, epochs=0.001, **options)) == 1


def test_sorting_inside_windows_pads_little() -> None:
    lengths = np.random.default_rng(0).integers(30, 300, 5000)
    plan = make_plan(lengths, epochs=1, batch_tokens=4096, batch_solutions=None, seed=0)
    computed = sum(len(batch) * lengths[batch].max() for batch in plan)
    assert computed < 1.03 * lengths.sum()


@given(_lengths_read, st.integers(1, 400))
def test_fixed_batches_hold_every_row_once(lengths: Any, batch_tokens: int) -> None:
    batches = fixed_batches(lengths, batch_tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= batch_tokens


@given(_lengths_read, st.integers(1, 400))
def test_at_most_half_of_what_a_fixed_batch_computes_is_padding(lengths: Any, batch_tokens: int) -> None:
    for batch in fixed_batches(lengths, batch_tokens):
        assert len(batch) * lengths[batch].max() <= 2 * lengths[batch].sum()


def test_shuffled_labels_are_the_same_labels_elsewhere(tiny: Any) -> None:
    corpus = corpus_of(tiny.make_rows(100))
    shuffled = shuffle_labels(corpus.labels, seed=0)
    assert sorted(corpus.labels) == sorted(shuffled)
    assert corpus.labels.tolist() != shuffled.tolist()
    with_gaps = np.where(np.arange(len(shuffled)) % 3, corpus.labels, np.nan)
    assert np.isnan(shuffle_labels(with_gaps, seed=0)).tolist() == np.isnan(with_gaps).tolist()


def test_no_question_is_trained_on_and_held_out(tiny: Any) -> None:
    rows = tiny.make_rows(200)
    split = split_by_question(rows, 0.2, seed=0, limit=None)
    train, held = ({row.question for row in part} for part in split)
    assert not train & held
    assert len(split.train) + len(split.heldout) == len(rows)
    assert abs(len(held) / len(train | held) - 0.2) < 0.02
    assert split_by_question(rows, 0.2, seed=1, limit=None).heldout != split.heldout
    assert split_by_question(rows, 0.0, seed=0, limit=None).heldout == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 31))
def test_a_limit_keeps_whole_questions(numbers: list[int], limit: int) -> None:
    kept = first_questions(np.arange(len(numbers)), np.array(numbers), limit).tolist()
    assert kept == list(range(len(kept)))
    assert len(kept) >= min(limit, len(numbers))
    assert len(kept) == len(numbers) or numbers[len(kept)] != numbers[len(kept) - 1]
    assert len(kept) <= limit or len(set(numbers[limit - 1 : len(kept)])) == 1  # no more than it takes


def test_the_digest_knows_rows_and_order(tiny: Any, tiny_tokenizer: Any) -> None:
    contract = resolve(tiny_tokenizer)
    rows = encode_rows(tiny.make_rows(8), tiny_tokenizer, contract, 512)
    other = encode_rows(
        tiny.make_rows(8), tiny_tokenizer, contract, 512, lambda labels, _: shuffle_labels(labels, 1)
    )
    plan = [np.arange(4), np.arange(4, 8)]
    digests = {plan_digest(rows, plan), plan_digest(rows, plan[::-1]), plan_digest(other, plan)}
    assert len(digests) == 3
