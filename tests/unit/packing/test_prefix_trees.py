"""Prefix trees and their tiles: every distinct prefix once, and who sees whom as in each solution alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from verifier.packing.choice import read_apart
from verifier.packing.passes import PASS_TOKENS, Packed, Padded, Pass, Work, plan_passes, price
from verifier.packing.tiles import count_pairs, cut_tiles
from verifier.packing.tree import Row, count_unique, lay_out, shared_with_last

Tokens = NDArray[np.int32]


def _tokens(each: list[int]) -> Tokens:
    return np.array(each, dtype=np.int32)


# Few different tokens, so that beginnings are shared, texts repeat and one is the beginning of another.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=12).map(_tokens), min_size=1, max_size=14)


def _prefixes(sequences: list[Tokens]) -> set[tuple[int, ...]]:
    return {tuple(each[: at + 1].tolist()) for each in sequences for at in range(len(each))}


def _path(row: Row, at: int) -> list[int]:
    """The tokens that a token sees, by the definition."""
    return [each for each in range(at + 1) if row.ends[each] > at]


@given(SEQUENCES)
def test_a_row_has_each_distinct_prefix_once(sequences: list[Tokens]) -> None:
    rows = lay_out(sequences, budget=10_000)
    assert sum(map(len, rows)) == count_unique(sequences) == len(_prefixes(sequences))


@given(SEQUENCES, st.integers(1, 30))
def test_every_solution_lies_in_one_row_as_it_is(sequences: list[Tokens], budget: int) -> None:
    rows = lay_out(sequences, budget)
    members = [member for row in rows for member in row.members]
    assert sorted(members) == [at for at, each in enumerate(sequences) if len(each)]
    for row in rows:
        assert len(row) <= budget or len(row.members) == 1
        for member, places in zip(row.members, row.places, strict=True):
            assert row.ids[places].tolist() == sequences[member].tolist()
            assert row.positions[places].tolist() == list(range(len(places)))
            for depth, place in enumerate(places.tolist()):
                assert _path(row, place) == places[: depth + 1].tolist()


@given(SEQUENCES, st.integers(1, 30), st.integers(1, 9))
def test_tiles_see_what_the_row_sees(sequences: list[Tokens], budget: int, size: int) -> None:
    for row in lay_out(sequences, budget):
        tiles = cut_tiles(row, size)
        seen = np.zeros((len(row), len(row)), dtype=int)
        for tile, (keys, sees) in enumerate(zip(tiles.keys, tiles.sees, strict=True)):
            for query in range(size):
                at = tile * size + query
                if at < len(row):
                    np.add.at(seen[at], keys[sees[query]], 1)
                assert sees[query].any()  # a softmax over nothing is not a number
        assert (seen == row.sees()).all()  # each key once


@given(SEQUENCES, st.integers(1, 30), st.integers(1, 9))
def test_pairs_are_counted_without_making_tiles(sequences: list[Tokens], budget: int, size: int) -> None:
    for row in lay_out(sequences, budget):
        assert count_pairs(row, size) == cut_tiles(row, size).sees.size


def test_a_full_row_is_cut_between_questions() -> None:
    """Two questions of three solutions each, of which one and two thirds fit: the second is not torn."""
    sequences = [
        _tokens([question, *[7] * 9, solution, *[solution] * 9])
        for question in (1, 2)
        for solution in (3, 4, 5)
    ]
    assert count_unique(sequences) == 80
    rows = lay_out(sequences, budget=70)
    assert [len(row) for row in rows] == [40, 40]
    assert [sorted(row.members) for row in rows] == [[0, 1, 2], [3, 4, 5]]
    assert [len(row) for row in lay_out(sequences, budget=80)] == [80]


def test_sorting_is_by_number_not_by_byte() -> None:
    order, shared = shared_with_last([_tokens([300, 1]), _tokens([2, 9]), _tokens([300]), _tokens([2, 9])])
    assert order == [1, 3, 2, 0]
    assert shared == [0, 2, 0, 1]


def test_where_packing_does_not_pay_batches_are_padded() -> None:
    """The counted work decides: nothing shared and one length, or a beginning that all have."""
    rng = np.random.default_rng(0)
    work = Work(token=1e6, pair=1e3)
    apart = [rng.integers(100, 10_000, 64) for _ in range(8)]
    assert {type(each) for each in plan_passes(apart, 4096, work)} == {Padded}
    question = rng.integers(100, 10_000, 64)
    alike = [np.concatenate([question, each[:32]]) for each in apart]
    assert {type(each) for each in plan_passes(alike, 4096, work)} == {Packed}
    assert {type(each) for each in plan_passes(alike, 4096, work, longest=0)} == {Padded}
    assert {type(each) for each in plan_passes(alike, 4096, work, packs=False)} == {Padded}
    uneven = [each[: 4 + 8 * at] for at, each in enumerate(apart)]  # no padding in a row is a gain too
    assert {type(each) for each in plan_passes(uneven, 4096, work)} == {Packed}


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_a_plan_reads_every_solution_once(budget: int) -> None:
    rng = np.random.default_rng(1)
    sequences = [rng.integers(0, 3, rng.integers(0, 90)) for _ in range(40)]
    for longest in (0, 45, 90):
        passes = plan_passes(sequences, budget, Work(1e6, 1e2), longest=longest)
        members = sorted(member for each in passes for member in each.members)
        assert members == [at for at, each in enumerate(sequences) if len(each)]
        packed = [member for each in passes if isinstance(each, Packed) for member in each.members]
        assert all(len(sequences[member]) <= longest for member in packed)
        for each in passes:
            assert len({len(sequences[member]) <= longest for member in each.members}) == 1


def _work(passes: list[Pass], work: Work) -> float:
    return sum(each.work(work) for each in passes)


def test_solutions_that_share_and_solutions_that_do_not_are_read_side_by_side() -> None:
    """A question's solutions in a row; beside them the rest, of one length, a first token in common."""
    rng = np.random.default_rng(0)
    work = Work(token=1e6, pair=1e3)
    apart = [np.concatenate([[1], rng.integers(100, 10_000, 127)]) for _ in range(16)]
    alike = [np.concatenate([apart[0][:100], rng.integers(100, 10_000, 9 + at)]) for at in range(16)]
    passes = plan_passes([*apart[1:], *alike], 4096, work)
    kinds = {type(each): sorted(each.members) for each in passes}
    assert kinds == {Padded: list(range(15)), Packed: list(range(15, 31))}
    rows = lay_out([*apart[1:], *alike], 4096)
    assert _work(passes, work) < 0.95 * _work([*map(Packed, rows)], work)


def test_a_row_that_saves_less_than_its_tiles_cost_is_not_packed() -> None:
    """Four tokens in common of 128 each: fewer operations, but no less time."""
    rng = np.random.default_rng(0)
    work = Work(token=1.0, pair=2e-4)
    begun = rng.integers(0, 100, 4)
    some = [np.concatenate([begun, rng.integers(100, 10_000, 124)]) for _ in range(8)]
    rows = [*map(Packed, lay_out(some, 4096))]
    (padded,) = plan_passes(some, 4096, work)
    assert isinstance(padded, Padded)
    assert _work(rows, work) < padded.work(work) < sum(price(each, work) for each in rows)


def test_a_pass_more_is_not_made_for_a_trifle() -> None:
    """One solution that shares nothing is less work in a batch, by its tiles' pairs: not a pass's worth."""
    rng = np.random.default_rng(0)
    question = rng.integers(100, 10_000, 90)
    alike = [np.concatenate([question, rng.integers(100, 10_000, 30)]) for _ in range(8)]
    alone = rng.integers(100, 10_000, 120)
    (only,) = plan_passes([*alike, alone], 4096, Work(token=1e6, pair=1e2))
    assert isinstance(only, Packed)


@given(SEQUENCES, st.integers(1, 60), st.integers(0, 12), st.floats(0, 0.2))
def test_no_plan_is_more_work_than_rows_alone_or_batches_alone(
    sequences: list[Tokens], budget: int, longest: int, pair: float
) -> None:
    def counted(passes: list[Pass]) -> float:
        return sum(price(each, work) for each in passes) + PASS_TOKENS * work.token * len(passes)

    work = Work(1.0, pair)
    found = plan_passes(sequences, budget, work, longest=longest)
    assert counted(found) <= counted(plan_passes(sequences, budget, work, longest=longest, packs=False))
    if longest == 12:
        assert counted(found) <= counted([Packed(row) for row in lay_out(sequences, budget)])


@given(SEQUENCES, st.lists(st.integers(1, 40), min_size=14, max_size=14))
def test_the_sequences_left_out_of_a_row_are_those_of_the_least_work(
    sequences: list[Tokens], prices: list[int]
) -> None:
    """Against every subset: distinct prefixes of those in the row, and the price of each that is not."""
    sequences = sequences[:8]
    if not any(map(len, sequences)):
        return
    (row,) = lay_out(sequences, 10_000)
    elsewhere = [0.3 * price for price in prices[: len(row.members)]]

    def total(left_out: Sequence[bool]) -> float:
        mine = [sequences[at] for at, other in zip(row.members, left_out, strict=True) if not other]
        return len(_prefixes(mine)) + sum(
            price for price, other in zip(elsewhere, left_out, strict=True) if other
        )

    found = read_apart(row.lengths, row.shared, 1.0, elsewhere).tolist()
    least = min(map(total, product((False, True), repeat=len(row.members))))
    assert total(found) == pytest.approx(least)


def test_a_long_chain_of_beginnings_is_no_deep_recursion() -> None:
    lengths = list(range(1, 5001))
    assert not read_apart(lengths, [0, *lengths[:-1]], 1.0, [2.0] * 5000).any()
    assert read_apart(lengths, [0, *lengths[:-1]], 1.0, [0.9] * 5000).all()
