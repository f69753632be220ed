"""maj@n against integer arithmetic: the same polynomial with Python's unbounded integers, nothing scaled."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.majority import binomial, majority_accuracies, majority_accuracy


def in_integers(right: int, wrong: list[int], missing: int, n: int) -> Fraction:
    """Count the subsets: for each j, a table of (ties, candidates taken) to the number of ways."""
    total = Fraction(0)
    for j in range(1, min(right, n) + 1):
        ways = {(0, taken): comb(missing, taken) for taken in range(min(missing, n - j) + 1)}
        for votes in wrong:
            grown: dict[tuple[int, int], int] = {}
            for (ties, taken), count in ways.items():
                for mine in range(min(votes, j, n - j - taken) + 1):
                    key = (ties + (mine == j), taken + mine)
                    grown[key] = grown.get(key, 0) + count * comb(votes, mine)
            ways = grown
        found = (Fraction(count, 1 + ties) for (ties, taken), count in ways.items() if taken == n - j)
        total += comb(right, j) * sum(found, Fraction(0))
    return total / comb(right + sum(wrong) + missing, n)


@given(
    right=st.integers(0, 14),
    wrong=st.lists(st.integers(1, 14), max_size=7),
    missing=st.integers(0, 8),
    data=st.data(),
)
def test_equals_integer_arithmetic(right: int, wrong: list[int], missing: int, data: st.DataObject) -> None:
    size = right + sum(wrong) + missing
    if size == 0:
        return
    n = data.draw(st.integers(1, size))
    found = majority_accuracy(right, wrong, missing, [n])[0]
    assert found == pytest.approx(float(in_integers(right, wrong, missing, n)), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "wrong", "missing", "n"),
    [
        (350, [350, 324], 0, 64),  # level with the strongest rival
        (300, [301, 300], 123, 100),
        (40, [40] * 4 + [9, 9, 9, 2, 2, 1, 1, 1, 1], 789, 48),  # ties of many, few answers
        (5, [1] * 60, 959, 200),
        (1023, [1], 0, 1000),
        (1, [1023], 0, 1000),
        (2, [1022], 0, 3),
    ],
)
def test_a_pool_of_1024_neither_overflows_nor_loses_digits(
    right: int, wrong: list[int], missing: int, n: int
) -> None:
    assert right + sum(wrong) + missing == 1024
    found = majority_accuracy(right, wrong, missing, [n])[0]
    assert found == pytest.approx(float(in_integers(right, wrong, missing, n)), rel=1e-9, abs=1e-12)


def test_many_singletons_tie_as_they_must() -> None:
    # Everyone votes for something else: whatever is drawn ties, and one of n wins.
    found = majority_accuracy(1, [1] * 1023, 0, [1, 2, 16, 512, 1024])
    np.testing.assert_allclose(found, 1 / 1024, rtol=1e-11)


def test_equal_rivals_share_by_symmetry() -> None:
    for rivals in (1, 3, 7):
        votes = 1024 // (rivals + 1)
        found = majority_accuracy(votes, [votes] * rivals, 0, [1, 3, 32, 500, 1023])
        np.testing.assert_allclose(found, 1 / (rivals + 1), rtol=1e-11)


def test_the_odds_of_a_split_vote_add_up_to_one() -> None:
    """Each answer taken for the right one in turn: without missing answers someone always wins."""
    votes = [400, 300, 200, 70, 20, 20, 10, 1, 1, 1, 1]
    ns = [2, 5, 64, 333, 1000]
    shares = [majority_accuracy(each, votes[:at] + votes[at + 1 :], 0, ns) for at, each in enumerate(votes)]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1.0, atol=1e-11)


def test_one_accuracy_a_problem_whatever_the_codes_are() -> None:
    codes = np.array([[5, 5, 9, -1], [0, 1, 1, 2], [-1, -1, -1, -1]])
    right = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    found = majority_accuracies(codes, right, [1, 4])
    np.testing.assert_allclose(found, [[0.5, 1.0], [0.25, 0.0], [0.0, 0.0]])


def test_binomials_add_up_and_meet_the_exact_ones() -> None:
    for trials, p in ((0, 0.3), (1, 0.5), (1024, 1 / 1024), (1024, 1023 / 1024), (1024, 0.5)):
        mass = binomial(trials, p)
        exact = Fraction(p)
        for count in {0, trials // 2, trials}:
            expected = comb(trials, count) * exact**count * (1 - exact) ** (trials - count)
            assert mass[count] == pytest.approx(float(expected), rel=1e-11, abs=1e-300)


@pytest.mark.parametrize(
    ("right", "wrong", "missing", "n"), [(1, [1], 0, 3), (1, [0], 0, 1), (-1, [2], 0, 1), (1, [], 0, 0)]
)
def test_what_is_no_pool_is_refused(right: int, wrong: list[int], missing: int, n: int) -> None:
    with pytest.raises(ValueError, match="no subset of"):
        majority_accuracy(right, wrong, missing, [n])
