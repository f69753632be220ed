"""Prefix trees and their tiles: every distinct prefix once, and who sees whom as in each solution alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from verifier.packing.passes import Packed, Padded, Work, plan_passes
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
    assert {type(each) for each in plan_passes(alike, 4096, work, may_pack=False)} == {Padded}
    uneven = [each[: 4 + 8 * at] for at, each in enumerate(apart)]  # no padding in a row is a gain too
    assert {type(each) for each in plan_passes(uneven, 4096, work)} == {Packed}


@pytest.mark.parametrize("budget", [1, 100, 100_000])
def test_a_plan_reads_every_solution_once(budget: int) -> None:
    rng = np.random.default_rng(1)
    sequences = [rng.integers(0, 3, rng.integers(0, 90)) for _ in range(40)]
    for may_pack in (True, False):
        passes = plan_passes(sequences, budget, Work(1e6, 1e2), may_pack=may_pack)
        members = sorted(member for each in passes for member in each.members)
        assert members == [at for at, each in enumerate(sequences) if len(each)]
