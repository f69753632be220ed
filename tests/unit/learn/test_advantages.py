"""Advantages against their definitions, token by token, and what must not move them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eval.scores import FloatArray
from generation.learn.grpo.advantages import (
    Credit,
    Tolerance,
    combine,
    hybrid,
    min_advantages,
    min_returns,
    outcome_advantages,
    process_advantages,
)

EQUAL = Tolerance()
# Steps of 1/64: no two rewards differ by less than the tolerance, and sums are exact.
scores = st.integers(0, 64).map(lambda each: each / 64)


@dataclass(frozen=True)
class Steps:
    """A solution as rewards and tokens of its steps, and the tokens after them."""

    rewards: tuple[float, ...]
    tokens: tuple[int, ...]
    after: int

    @property
    def ends(self) -> list[int]:
        return [each - 1 for each in accumulate(self.tokens)]

    @property
    def length(self) -> int:
        return sum(self.tokens) + self.after


@st.composite
def solutions(draw: st.DrawFn, least: int = 0) -> Steps:
    rewards = tuple(draw(st.lists(scores, min_size=least, max_size=5)))
    tokens = tuple(draw(st.lists(st.integers(1, 3), min_size=len(rewards), max_size=len(rewards))))
    return Steps(rewards, tokens, draw(st.integers(0 if rewards else 1, 2)))


groups = st.lists(solutions(), min_size=1, max_size=5)
credits_: st.SearchStrategy[Credit] = st.sampled_from(("step", "until"))

Advantages = Callable[[Sequence[Steps]], list[FloatArray]]


def process(group: Sequence[Steps]) -> list[FloatArray]:
    return process_advantages(
        [each.rewards for each in group],
        [each.ends for each in group],
        [each.length for each in group],
        EQUAL,
    )


def least(credit: Credit) -> Advantages:
    def form(group: Sequence[Steps]) -> list[FloatArray]:
        return min_advantages(
            [each.rewards for each in group],
            [each.ends for each in group],
            [each.length for each in group],
            EQUAL,
            credit,
        )

    return form


def z_scores(values: Sequence[float]) -> list[float]:
    """The definition, in a loop."""
    if not values or max(values) - min(values) <= 1e-6 + 1e-6 * max(abs(each) for each in values):
        return [0.0] * len(values)
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in values) / len(values))
    return [(each - mean) / deviation for each in values]


def close(mine: Sequence[FloatArray], theirs: Sequence[Sequence[float] | FloatArray]) -> None:
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@given(st.lists(scores, max_size=8))
def test_outcome_is_the_z_score(rewards: list[float]) -> None:
    close([outcome_advantages(np.array(rewards), EQUAL)], [z_scores(rewards)])


@given(st.lists(scores, min_size=2, max_size=8))
def test_outcome_has_mean_0_and_mean_square_1(rewards: list[float]) -> None:
    assume(len(set(rewards)) > 1)
    found = outcome_advantages(np.array(rewards), EQUAL)
    assert abs(found.mean()) < 1e-12
    assert (found**2).mean() == pytest.approx(1)


@given(groups)
def test_process_is_the_sum_over_the_steps_that_end_at_or_after_a_token(group: list[Steps]) -> None:
    normalised = iter(z_scores([reward for each in group for reward in each.rewards]))
    expected = []
    for each in group:
        own = [next(normalised) for _ in each.rewards]
        expected.append(
            [
                sum(z for z, end in zip(own, each.ends, strict=True) if end >= token)
                for token in range(each.length)
            ]
        )
    close(process(group), expected)


@given(groups, credits_)
def test_min_is_the_z_score_of_the_return_where_its_step_stands(group: list[Steps], credit: Credit) -> None:
    returns = [min(each.rewards) if each.rewards else 0.0 for each in group]
    expected = []
    for each, value, z in zip(group, returns, z_scores(returns), strict=True):
        tokens = [0.0] * each.length
        for token in range(each.length):
            if not each.rewards:
                tokens[token] = z
                continue
            setter = each.rewards.index(value)
            begin = 0 if setter == 0 else each.ends[setter - 1] + 1
            if (begin if credit == "step" else 0) <= token <= each.ends[setter]:
                tokens[token] = z
        expected.append(tokens)
    close(least(credit)(group), expected)


@given(groups, st.sampled_from(("step", "until", "process")), st.data())
def test_the_order_of_the_group_does_not_matter(group: list[Steps], form: str, data: st.DataObject) -> None:
    advantages = process if form == "process" else least(form)  # type: ignore[arg-type]
    order = data.draw(st.permutations(range(len(group))))
    found = advantages(group)
    close(advantages([group[at] for at in order]), [found[at] for at in order])


@given(groups, st.sampled_from(("step", "until", "process")), st.sampled_from((0.25, 2.0, 100.0)))
def test_the_unit_of_the_rewards_does_not_matter(group: list[Steps], form: str, unit: float) -> None:
    advantages = process if form == "process" else least(form)  # type: ignore[arg-type]
    scaled = [Steps(tuple(unit * each for each in one.rewards), one.tokens, one.after) for one in group]
    close(advantages(scaled), advantages(group))


@given(groups, credits_, st.data())
def test_a_step_at_or_above_the_running_minimum_changes_no_other_token(
    group: list[Steps], credit: Credit, data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(group) - 1))
    old = group[which]
    assume(old.rewards)
    place = data.draw(st.integers(0, len(old.rewards)))
    reward = data.draw(scores)
    at_or_above = place > 0 and reward >= min(old.rewards[:place])
    assume(at_or_above or reward > min(old.rewards))
    width = data.draw(st.integers(1, 3))
    new = Steps(
        (*old.rewards[:place], reward, *old.rewards[place:]),
        (*old.tokens[:place], width, *old.tokens[place:]),
        old.after,
    )
    before = least(credit)(group)
    after = least(credit)([*group[:which], new, *group[which + 1 :]])
    begin = sum(old.tokens[:place])
    own = after[which][begin : begin + width]
    after[which] = np.delete(after[which], range(begin, begin + width))
    close(after, before)
    setter = old.rewards.index(min(old.rewards))
    carries = credit == "until" and place <= setter
    close([own], [[before[which][old.ends[setter]] if carries else 0.0] * width])


@given(st.lists(solutions(), min_size=1, max_size=4), solutions(least=1), credits_)
def test_dropping_the_steps_is_never_better_than_a_step_at_0(
    others: list[Steps], solution: Steps, credit: Credit
) -> None:
    with_zero = Steps((0.0, *solution.rewards[1:]), solution.tokens, 0)
    without = Steps((), (), with_zero.length)
    kept, dropped = (least(credit)([*others, each]) for each in (with_zero, without))
    close(dropped[:-1], kept[:-1])  # nobody else gains by it
    assert (dropped[-1] <= 1e-12).all()
    assert (dropped[-1] <= kept[-1] + 1e-12).all()
    assert dropped[-1].sum() <= kept[-1].sum() + 1e-12


@given(solutions(least=2), solutions(least=1))
def test_more_steps_pay_in_the_sum_and_not_in_the_minimum(solution: Steps, other: Steps) -> None:
    """What the min-form is for: a copy of the best step lifts the sum, and leaves the minimum."""
    best = max(solution.rewards)
    assume(best > min(*solution.rewards, *other.rewards))
    longer = Steps((*solution.rewards, best), (*solution.tokens, 1), 0)
    close([least("step")([longer, other])[1]], [least("step")([solution, other])[1]])
    returns = min_returns([longer.rewards, solution.rewards])
    assert returns[0] == returns[1]


def test_merging_steps_can_raise_the_return() -> None:
    """The known hole of a minimum, which the sentinel on the number of steps watches."""
    other, apart, merged = Steps((0.5,), (1,), 0), Steps((0.9, 0.2), (1, 1), 0), Steps((0.8,), (2,), 0)
    assert least("until")([other, apart])[1][0] < 0 < least("until")([other, merged])[1][0]


def test_a_reward_below_0_is_refused_in_the_min_form() -> None:
    with pytest.raises(ValueError, match="dropping the steps would pay"):
        min_advantages([[-0.1]], [[0]], [1], EQUAL)


@pytest.mark.parametrize(
    ("rewards", "ends", "lengths", "says"),
    [
        ([[1.0]], [[0, 1]], [2], "1 step rewards and 2 ends"),
        ([[1.0, 0.0]], [[1, 0]], [2], "must not fall"),
        ([[1.0]], [[2]], [2], "lie in 0 to 1"),
        ([[1.0]], [[-1]], [2], "lie in 0 to 1"),
        ([[1.0], [0.0]], [[0]], [2], "rewards of 2 completions"),
        ([[1.0, math.nan]], [[0, 1]], [2], "finite"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    rewards: list[list[float]], ends: list[list[int]], lengths: list[int], says: str
) -> None:
    for form in (process_advantages, min_advantages):
        with pytest.raises(ValueError, match=says):
            form(rewards, ends, lengths, EQUAL)


def test_nan_and_tables_are_refused_as_rewards() -> None:
    for wrong, says in ((np.array([1.0, math.nan]), "finite"), (np.zeros((2, 2)), "shape")):
        with pytest.raises(ValueError, match=says):
            outcome_advantages(wrong, EQUAL)


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_tiny_and_huge_rewards_neither_vanish_nor_overflow(unit: float) -> None:
    found = outcome_advantages(np.array([1.0, 0.0]) * unit, Tolerance(0.0, 1e-6))
    np.testing.assert_allclose(found, [1, -1])


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=5), scores, scores)
def test_hybrid_adds_the_absolute_term(
    both: list[tuple[float, float]], weight: float, baseline: float
) -> None:
    advantages, returns = (np.array(each) for each in zip(*both, strict=True))
    found = hybrid(advantages, returns, weight, baseline)
    close([found], [[a + weight * (r - baseline) for a, r in both]])
    tokens = hybrid([np.full(2, each) for each in advantages], returns, weight, baseline)
    close(tokens, [[each, each] for each in found])


def test_hybrid_leaves_what_it_was_given() -> None:
    advantages = np.array([1.0, -1.0])
    tokens = [np.array([1.0]), np.array([-1.0])]
    hybrid(advantages, np.array([1.0, 1.0]), 1.0, 0.0)
    hybrid(tokens, np.array([1.0, 1.0]), 1.0, 0.0)
    assert advantages.tolist() == [1.0, -1.0]
    assert [each.tolist() for each in tokens] == [[1.0], [-1.0]]
    with pytest.raises(ValueError, match="2 advantages and 1 returns"):
        hybrid(advantages, np.array([1.0]), 1.0, 0.0)


@given(groups, scores, scores)
def test_combine_is_linear_in_its_parts(group: list[Steps], one: float, other: float) -> None:
    lengths = [each.length for each in group]
    per_token, per_completion = process(group), np.arange(len(group), dtype=np.float64)
    found = combine([(one, per_token), (other, per_completion)], lengths)
    close(found, [one * tokens + other * at for at, tokens in enumerate(per_token)])


def test_combine_refuses_parts_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="a part for 1 completions in a group of 2"):
        combine([(1.0, np.array([1.0]))], [1, 1])
    with pytest.raises(ValueError, match=r"a part of shape \(2,\) for a completion of 1 tokens"):
        combine([(1.0, [np.zeros(2)])], [1])
