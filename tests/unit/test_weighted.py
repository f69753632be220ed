"""Weighted votes: ties of float sums, seeds, and the subsets that estimate them."""

from __future__ import annotations

import numpy as np
import pytest

from eval.weighted import weighted_votes, winners


def votes(
    codes: list[int], weights: list[float], ns: list[int], **options: int
) -> tuple[list[float], list[float]]:
    answers = np.array([codes])
    found = weighted_votes(answers, answers == 0, {"min": np.array([weights])}, ns, ids=["p"], **options)[
        "min"
    ]
    return found.accuracy[0].tolist(), found.variance[0].tolist()


def test_sums_that_only_rounding_tells_apart_are_level() -> None:
    assert 0.1 + 0.2 != 0.3
    assert votes([0, 0, 1], [0.1, 0.2, 0.3], [3]) == ([0.5], [0.0])
    assert votes([1, 1, 0], [0.1, 0.2, 0.3], [3]) == ([0.5], [0.0])


def test_the_order_of_a_thousand_additions_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    mine = rng.random(512)
    for _ in range(5):
        codes, weights = (
            np.repeat([0, 1], 512),
            np.concatenate((rng.permutation(mine), rng.permutation(mine))),
        )
        order = rng.permutation(1024)
        assert votes(codes[order].tolist(), weights[order].tolist(), [1024])[0] == [0.5]


def test_what_a_verifier_can_tell_apart_is_not_level() -> None:
    assert votes([0, 1], [0.5 + 1e-9, 0.5], [2])[0] == [1.0]


def test_answers_of_score_zero_share_and_absent_ones_do_not() -> None:
    assert votes([0, 1, 2, -1], [0.0, 0.0, 0.0, 1.0], [4])[0] == [pytest.approx(1 / 3)]
    # Of 6 pairs 3 hold the right one: twice it ties with another answer, once it stands beside none.
    accuracy, _ = votes([0, 1, 2, -1], [0.0, 0.0, 0.0, 1.0], [2], subsets=4000)
    assert accuracy[0] == pytest.approx((0.5 + 0.5 + 1) / 6, abs=0.02)


def test_equal_weights_are_a_majority_vote() -> None:
    accuracy, variance = votes([0, 0, 1, 1, 1, 2], [0.3] * 6, [1, 6])
    assert (accuracy, variance) == ([pytest.approx(1 / 3), 0.0], [0.0, 0.0])


def test_a_problem_draws_the_same_subsets_alone_and_among_others() -> None:
    rng = np.random.default_rng(1)
    codes, weights = rng.integers(-1, 3, size=(5, 12)), rng.random((5, 12))
    ids, ns = [f"p{row}" for row in range(5)], [4, 8, 12]
    whole = weighted_votes(codes, codes == 0, {"a": weights, "b": 1 - weights}, ns, ids=ids, seed=7)
    backwards = weighted_votes(codes[::-1], codes[::-1] == 0, {"a": weights[::-1]}, ns, ids=ids[::-1], seed=7)
    np.testing.assert_array_equal(whole["a"].accuracy, backwards["a"].accuracy[::-1])
    other_seed = weighted_votes(codes, codes == 0, {"a": weights}, ns, ids=ids, seed=8)
    assert not np.array_equal(whole["a"].accuracy, other_seed["a"].accuracy)


def test_nobody_answers() -> None:
    assert votes([-1, -1], [1.0, 1.0], [1, 2])[0] == [0.0, 0.0]
    assert winners(np.zeros(0), np.zeros(0, dtype=bool)).tolist() == []


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="min: a weight is negative or NaN"):
        votes([0, 1], [-0.1, 0.2], [2])
    with pytest.raises(ValueError, match="at least 2"):
        votes([0, 1], [0.1, 0.2], [2], subsets=1)
