"""Rows with weights: taken as often as their weight says, the fraction by seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.learn.order import make_order, weighted_order

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=30)


@given(LENGTHS, st.sampled_from([0.5, 1.0, 2.0, 2.5]), st.integers(1, 9), st.integers(0, 3))
def test_with_weights_of_one_it_is_the_plain_order(
    lengths: list[int], epochs: float, batch_size: int, seed: int
) -> None:
    options = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    found = weighted_order(np.array(lengths), np.ones(len(lengths)), **options)
    assert found.tolist() == make_order(np.array(lengths), **options).tolist()


@given(
    st.lists(st.floats(0, 4), min_size=1, max_size=12).filter(any),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_the_whole_part_is_taken_always_and_the_fraction_once_more_or_not(
    weights: list[float], epochs: int, batch_size: int, seed: int
) -> None:
    lengths = np.arange(1, len(weights) + 1)
    options = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    order = weighted_order(lengths, np.array(weights), **options)
    assert order.tolist() == weighted_order(lengths, np.array(weights), **options).tolist()
    counts = np.bincount(order, minlength=len(weights))
    assert len(order) >= 1
    assert (counts >= epochs * np.floor(weights)).all()
    assert (counts <= epochs * np.ceil(weights)).all()


def test_the_fraction_is_right_in_expectation() -> None:
    weights = np.array([0.25, 1.0, 1.75, 0.0])
    order = weighted_order(np.full(4, 7), weights, epochs=4000, batch_size=4, seed=0)
    rates = np.bincount(order, minlength=4) / 4000
    assert rates[1] == 1
    assert rates[3] == 0
    spread = np.sqrt(0.25 * 0.75 / 4000)
    assert abs(rates[0] - 0.25) < 4 * spread
    assert abs(rates[2] - 1.75) < 4 * spread


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=12).filter(any),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_so_many_rows_are_so_many(weights: list[float], wanted: int, batch_size: int) -> None:
    lengths = np.arange(1, len(weights) + 1)
    order = weighted_order(lengths, np.array(weights), epochs=1, batch_size=batch_size, seed=0, wanted=wanted)
    assert len(order) == wanted
    assert all(weights[index] > 0 for index in order)


def test_light_rows_alone_still_give_one() -> None:
    lengths, weights = np.array([3, 4]), np.array([1e-9, 2e-9])
    assert weighted_order(lengths, weights, epochs=1, batch_size=2, seed=0).tolist() == [1]
    assert len(weighted_order(lengths, weights, epochs=1, batch_size=2, seed=0, wanted=9)) == 9


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be finite"):
        weighted_order(np.array([1, 2]), np.array(weights), epochs=1, batch_size=1, seed=0)


def test_copies_of_a_row_do_not_share_a_batch() -> None:
    """Sorted by length, the copies of a row in two epochs would stand side by side."""
    lengths = np.random.default_rng(0).integers(10, 400, 96)
    for weight in (0.5, 1.0, 1.5, 3.0):
        order = weighted_order(lengths, np.full(96, weight), epochs=5, batch_size=8, seed=1)
        batches = order[: len(order) // 8 * 8].reshape(-1, 8)
        twice = sum(len(set(batch)) < 8 for batch in batches.tolist())
        assert twice <= 0.02 * len(batches)  # where first copies end and second ones begin
        assert (lengths[batches].max(1) * 8).sum() / lengths[batches].sum() < 1.25
