"""Every closed form against the enumeration of all subsets, in exact fractions, on small odd pools."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.rules import Ballots, best_weights, curves_of, vote_weights

RIGHT = 0

# A candidate: its answer (0 is the right one, None is no answer), its score, its length.
Candidate = tuple[int | None, float, int]
Rule = Callable[[list[Candidate]], Fraction]


def _is_right(candidate: Candidate) -> int:
    return int(candidate[0] == RIGHT)


def passes(subset: list[Candidate]) -> Fraction:
    return Fraction(int(any(_is_right(each) for each in subset)))


def majority(subset: list[Candidate]) -> Fraction:
    answers = [answer for answer, _, _ in subset if answer is not None]
    if not answers:
        return Fraction(0)
    most = max(answers.count(answer) for answer in answers)
    winners = {answer for answer in answers if answers.count(answer) == most}
    return Fraction(int(RIGHT in winners), len(winners))


def best(key: Callable[[Candidate], float]) -> Rule:
    def rule(subset: list[Candidate]) -> Fraction:
        answering = [each for each in subset if each[0] is not None]
        if not answering:
            return Fraction(0)
        top = max(key(each) for each in answering)
        winners = [each for each in answering if key(each) == top]
        return Fraction(sum(_is_right(each) for each in winners), len(winners))

    return rule


def weighted(subset: list[Candidate]) -> Fraction:
    sums: dict[int, Fraction] = {}
    for answer, score, _ in subset:
        if answer is not None:
            sums[answer] = sums.get(answer, Fraction(0)) + Fraction(score)
    winners = [answer for answer, total in sums.items() if total == max(sums.values())]
    return Fraction(int(RIGHT in winners), len(winners)) if winners else Fraction(0)


RULES: dict[str, Rule] = {
    "pass_at_n": passes,
    "majority": majority,
    "min": best(lambda each: each[1]),
    "loglik": best(lambda each: -each[1]),
    "shortest": best(lambda each: -each[2]),
    "random": best(lambda _: 0),
    "weighted_min": weighted,
}


def enumerate_subsets(rule: Rule, pool: list[Candidate], n: int) -> Fraction:
    found = [rule([pool[index] for index in chosen]) for chosen in combinations(range(len(pool)), n)]
    return sum(found, Fraction(0)) / len(found)


def ballots(pools: list[list[Candidate]]) -> Ballots:
    scores = np.array([[score for _, score, _ in pool] for pool in pools])
    codes = np.array([[-1 if answer is None else answer for answer, _, _ in pool] for pool in pools])
    return Ballots(
        ids=[f"p{index}" for index in range(len(pools))],
        codes=codes,
        right=codes == RIGHT,
        characters=np.array([[length for _, _, length in pool] for pool in pools]),
        logprobs=-scores,
        scores={"min": scores},
    )


# Eighths add up exactly in doubles, so that equal sums are equal for the enumeration too.
candidates = st.tuples(
    st.sampled_from([RIGHT, RIGHT, 1, 1, 2, 3, 4, None]),
    st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.5, 1.0]),
    st.integers(0, 3),
)


@given(st.lists(candidates, min_size=1, max_size=9))
def test_closed_forms_equal_enumeration(pool: list[Candidate]) -> None:
    size = len(pool)
    ns = range(1, size + 1)
    curves = curves_of(ballots([pool]), ns)
    for name, rule in RULES.items():
        if name == "weighted_min":  # exact for one and for all
            expected = {n: float(enumerate_subsets(rule, pool, n)) for n in {1, size}}
        else:
            expected = {n: float(enumerate_subsets(rule, pool, n)) for n in ns}
        found = {n: curves[name].accuracy[0, n - 1] for n in expected}
        assert found == pytest.approx(expected, abs=1e-12), name


@given(st.lists(candidates, min_size=1, max_size=9))
def test_what_a_rule_takes_from_the_whole_pool_is_its_last_curve_point(pool: list[Candidate]) -> None:
    size = len(pool)
    votes = ballots([pool])
    curves = curves_of(votes, [size])
    answered, right = votes.codes[0] >= 0, votes.right[0]
    taken = {
        "majority": vote_weights(votes.codes[0]),
        "weighted_min": vote_weights(votes.codes[0], votes.scores["min"][0]),
        "min": best_weights(votes.scores["min"][0], answered),
    }
    for name, chance in taken.items():
        assert chance.sum() == pytest.approx(float(answered.any()))
        assert not chance[~answered].any()
        assert chance @ right == pytest.approx(curves[name].accuracy[0, 0], abs=1e-12), name


@given(st.lists(st.lists(candidates, min_size=5, max_size=5), min_size=1, max_size=6))
def test_problems_do_not_touch_one_another(pools: list[list[Candidate]]) -> None:
    ns = [1, 2, 4, 5]
    together = curves_of(ballots(pools), ns)
    for index, pool in enumerate(pools):
        alone = curves_of(ballots([pool]), ns)
        for name in set(together) - {"weighted_min"}:
            np.testing.assert_allclose(together[name].accuracy[index], alone[name].accuracy[0], atol=1e-12)


def test_a_weighted_vote_below_the_pool_is_within_its_error_of_the_enumeration() -> None:
    rng = np.random.default_rng(3)
    answers = [RIGHT, 1, 2, None]
    drawn = rng.choice(4, size=(60, 8), p=[0.4, 0.3, 0.2, 0.1])
    pools = [[(answers[each], float(rng.random()), 1) for each in pool] for pool in drawn]
    curve = curves_of(ballots(pools), [2, 4, 6], subsets=400, seed=1)["weighted_min"]
    assert curve.variance is not None
    for column, n in enumerate([2, 4, 6]):
        expected = np.mean([float(enumerate_subsets(weighted, pool, n)) for pool in pools])
        error = np.sqrt(curve.variance[:, column].sum()) / len(pools)
        assert 0 < error < 0.01
        assert abs(curve.accuracy[:, column].mean() - expected) < 4 * error
