"""Solution scores: the scalar and the vectorised form agree, and the empty solution has its stated place."""

from __future__ import annotations

import math

import numpy as np
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


@given(st.lists(probabilities, min_size=1, max_size=7), st.floats(1e-6, 1e6))
def test_softmin_lies_between_min_and_mean(scores: list[float], temperature: float) -> None:
    found = aggregate(scores, "softmin", temperature)
    assert min(scores) <= found <= aggregate(scores, "mean") + 1e-9
    assert solution_scores([scores], "softmin", temperature)[0] == pytest.approx(found, rel=1e-9, abs=1e-15)


@given(st.lists(probabilities, min_size=2, max_size=7), st.floats(1e-3, 10), st.floats(0, 1))
def test_softmin_never_falls_where_a_step_rises(scores: list[float], temperature: float, to: float) -> None:
    raised = [max(scores[0], to), *scores[1:]]
    assert aggregate(raised, "softmin", temperature) >= aggregate(scores, "softmin", temperature) - 1e-12


def test_softmin_by_hand_and_at_its_ends() -> None:
    # -0.5 log((e^0 + e^-1) / 2) from the minimum on, which is 0.2.
    by_hand = 0.2 - 0.5 * math.log((1 + math.exp(-1)) / 2)
    assert aggregate([0.2, 0.7], "softmin", 0.5) == pytest.approx(by_hand)
    assert aggregate([0.8, 0.2, 0.5], "softmin", 1e-6) == pytest.approx(0.2, abs=2e-6)
    assert aggregate([0.8, 0.2, 0.5], "softmin", 1e9) == pytest.approx(0.5, abs=1e-9)
    assert aggregate([0.3, 0.3, 0.9], "softmin") < aggregate([0.3, 0.9, 0.9], "softmin")  # two weak steps


def test_a_calibration_is_applied_to_the_steps_before_they_are_reduced() -> None:
    squared = solution_scores([[0.5, 0.9], [], [0.1]], "prod", calibration=np.square)
    assert squared.tolist() == pytest.approx([0.2025, 0.0, 0.01])
    with pytest.raises(ValueError, match="outside"):
        solution_scores([[0.5]], "min", calibration=lambda scores: scores - 1)


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
