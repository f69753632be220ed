"""Tokens and plan: truncation by whole steps, batches that hold every row once, held-out questions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd.records import StepRow
from verifier.batches import (
    EncodedRow,
    EncodedRows,
    fixed_batches,
    make_plan,
    plan_digest,
    shuffle_labels,
    supervised,
)
from verifier.data.corpus import corpus_of
from verifier.grouped import plan_by_question
from verifier.heldout import split_by_question
from verifier.packing.tree import count_unique
from verifier.split import first_questions
from verifier.tags import resolve


def _row(*labels: float | None, question: str = "How many?") -> StepRow:
    return StepRow(question, tuple(f"Step {i}: {i} + 1 = 2." for i in range(1, len(labels) + 1)), labels)


def test_truncation_drops_whole_steps_and_counts_them(tiny_tokenizer: Any, encode_rows: Any) -> None:
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


def test_null_labels_are_no_targets_and_soft_ones_are_kept(tiny_tokenizer: Any, encode_rows: Any) -> None:
    contract = resolve(tiny_tokenizer)
    rows = encode_rows([_row(None, 0.25, None), _row(None, None), _row(1.0)], tiny_tokenizer, contract, 1000)
    assert rows.rows_unlabelled == 1
    # Nothing is read after the last labelled step.
    assert len(rows.rows[0].ids) == rows.rows[0].tags[1] + 1
    first, second = map(supervised, rows.rows)
    assert (first.labels.tolist(), second.labels.tolist()) == ([0.25], [1.0])
    assert first.tags.tolist() == [rows.rows[0].tags[1]]
    assert rows.rows[0].ids[first.tags].tolist() == [contract.tag_id]


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


def test_the_digest_knows_rows_and_order(tiny: Any, tiny_tokenizer: Any, encode_rows: Any) -> None:
    contract = resolve(tiny_tokenizer)
    rows = encode_rows(tiny.make_rows(8), tiny_tokenizer, contract, 512)
    other = encode_rows(
        tiny.make_rows(8), tiny_tokenizer, contract, 512, lambda labels, _: shuffle_labels(labels, 1)
    )
    plan = [np.arange(4), np.arange(4, 8)]
    digests = {plan_digest(rows, plan), plan_digest(rows, plan[::-1]), plan_digest(other, plan)}
    assert len(digests) == 3


_sequences = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=20)),
    min_size=1,
    max_size=40,
)


@given(_sequences, st.integers(1, 120), st.one_of(st.none(), st.integers(1, 9)), st.integers(0, 3))
def test_grouped_rows_of_a_question_stand_together(
    drawn: list[tuple[int, list[int]]], batch_tokens: int, batch_solutions: int | None, seed: int
) -> None:
    rows = [np.array([90 + question, *ids]) for question, ids in drawn]
    questions = np.array([question for question, _ in drawn])

    def plan(**changed: Any) -> list[list[int]]:
        given = {"batch_tokens": batch_tokens, "batch_solutions": batch_solutions, "seed": seed, **changed}
        return [batch.tolist() for batch in plan_by_question(rows, questions, epochs=1, **given)]

    batches = plan()
    assert batches == plan()
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(rows)))
    begun = [row for at, row in enumerate(order) if not at or questions[order[at - 1]] != questions[row]]
    assert len(begun) == len(set(questions.tolist()))  # no question is left and taken up again
    for batch in batches:
        assert len(batch) == 1 or count_unique([rows[row] for row in batch]) <= batch_tokens
        assert batch_solutions is None or len(batch) <= batch_solutions
    for one, other in itertools.pairwise(batches):  # none is cut without need
        joined = [*one, other[0]]
        too_many = batch_solutions is not None and len(joined) > batch_solutions
        assert too_many or count_unique([rows[row] for row in joined]) > batch_tokens
    if len(begun) == 4:
        others = [plan(seed=each) for each in range(8)]
        assert any(other != others[0] for other in others)


@pytest.mark.parametrize("most", [1, 3, 4])
def test_a_question_is_cut_to_a_few_solutions(most: int) -> None:
    """In the order in which they are given, and each part has a place of its own."""
    rows = [np.array([90 + question, 11 - at]) for question in range(30) for at in range(12)]
    options: dict[str, Any] = {"batch_tokens": 100, "batch_solutions": most, "epochs": 1, "seed": 0}
    plan = plan_by_question(rows, np.repeat(np.arange(30), 12), question_solutions=most, **options)
    parts = {tuple(range(at, at + most)) for at in range(0, len(rows), most)}
    assert {tuple(sorted(batch.tolist())) for batch in plan} == parts
    assert len(plan) == len(parts)
    followed = [one[0] // 12 == other[0] // 12 for one, other in itertools.pairwise(plan)]
    assert np.mean(followed) < 0.2  # whole questions: at least two of three


def test_questions_are_numbered_as_they_come() -> None:
    ids, label = np.zeros(1, np.int32), np.zeros(1, np.float32)
    rows = [EncodedRow(ids, ids, label, _row(1.0, question=each)) for each in "baab"]
    assert EncodedRows(rows, 0, 0, 0, 0).questions.tolist() == [0, 1, 1, 0]
