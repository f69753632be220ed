"""Solution scores: the scalar and the vectorised form agree, and the empty solution has its stated place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.scores import AGGREGATIONS, Aggregation, aggregate, solution_scores

probabilities = st.floats(0, 1)


@given(st.lists(st.lists(probabilities, max_size=7), max_size=8))
def test_many_at_once_equal_one_by_one(solutions: list[list[float]]) -> None:
    for how in AGGREGATIONS:
        expected = [aggregate(each, how) if each else 0.0 for each in solutions]
        assert solution_scores(solutions, how).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("how", "expected"), [("min", 0.2), ("prod", 0.08), ("last", 0.5), ("mean", 0.5)])
def test_by_hand(how: Aggregation, expected: float) -> None:
    assert aggregate([0.8, 0.2, 0.5], how) == pytest.approx(expected)


def test_an_empty_solution_is_an_error_alone_and_zero_in_a_pool() -> None:
    with pytest.raises(ValueError, match="without steps"):
        aggregate([], "min")
    assert solution_scores([[], []], "prod").tolist() == [0.0, 0.0]
    assert solution_scores([], "mean").shape == (0,)


def test_an_unknown_aggregation_is_named() -> None:
    with pytest.raises(ValueError, match="'max'"):
        aggregate([0.5], "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min, softmin, prod, last, mean"):
        solution_scores([[0.5]], "max")  # type: ignore[arg-type]
