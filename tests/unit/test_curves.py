"""Rank weights, pass@n and best-of-n at sizes where enumeration ends, and what they refuse."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from eval.curves import best_of, pass_at, random_pick, rank_weights


@pytest.mark.parametrize("n", [1, 2, 17, 512, 1023, 1024])
def test_rank_weights_of_a_large_pool_are_the_binomials(n: int) -> None:
    weights = rank_weights(1024, n)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    for rank in (0, 1, 5, 400, 1023):
        exact = Fraction(comb(1023 - rank, n - 1), comb(1024, n))
        assert weights[rank] == pytest.approx(float(exact), rel=1e-11, abs=1e-300)


def test_pass_at_n_is_without_replacement() -> None:
    # verl draws with replacement and gets 0.900 here.
    assert pass_at(np.array([4]), 16, [8])[0, 0] == pytest.approx(1 - comb(12, 8) / comb(16, 8), abs=1e-15)
    assert pass_at(np.array([0, 1024]), 1024, [1, 7, 1024]).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_pass_at_n_keeps_its_digits_where_one_candidate_is_right() -> None:
    np.testing.assert_allclose(pass_at(np.array([1]), 1024, [1, 3])[0], [1 / 1024, 3 / 1024], rtol=1e-14)


def test_a_score_of_minus_infinity_still_beats_no_answer() -> None:
    scores = np.array([[-np.inf, np.inf]])
    found = best_of(scores, np.array([[True, False]]), np.array([[True, False]]), [1, 2])
    assert found.tolist() == [[0.5, 1.0]]


def test_a_planted_best_candidate_is_found_as_soon_as_it_is_drawn() -> None:
    scores = np.linspace(0, 1, 64)[None, :]
    right = scores == 1
    np.testing.assert_allclose(
        best_of(scores, np.ones_like(right), right, [1, 32, 64])[0], [1 / 64, 0.5, 1.0]
    )


def test_random_is_flat_where_all_answer() -> None:
    assert random_pick(np.array([3]), np.array([10]), 10, [1, 4, 10])[0] == pytest.approx([0.3] * 3)
    assert random_pick(np.array([0]), np.array([0]), 4, [1, 4]).tolist() == [[0.0, 0.0]]


def test_what_has_no_rank_is_refused() -> None:
    voting = np.array([[True, True]])
    with pytest.raises(ValueError, match="NaN"):
        best_of(np.array([[np.nan, 1.0]]), voting, voting, [1])
    with pytest.raises(ValueError, match="one shape"):
        best_of(np.array([[1.0]]), voting, voting, [1])
    with pytest.raises(ValueError, match="1 <= n <= 2"):
        rank_weights(2, 3)
