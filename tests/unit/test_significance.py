"""Comparisons: matched by id, corrected, judged; the verdict never says more than interval and p both do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.significance import (
    Difference,
    PerProblem,
    compare_paired,
    detectable_difference,
    differing,
    holm,
    judge,
    verdict,
)
from shepherd.errors import ShepherdError


def names(problems: int) -> list[str]:
    return [f"p{index}" for index in range(problems)]


def difference(low: float, high: float, problems: int = 500) -> Difference:
    return Difference((low + high) / 2, (low, high), 0.01, 9, np.zeros(problems))


def test_problems_are_matched_by_id_not_by_place() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = rng.random(40), rng.random(40)
    order = rng.permutation(40)
    found = compare_paired(PerProblem(names(40), mine), PerProblem(names(40), theirs), resamples=500)
    turned = PerProblem([names(40)[each] for each in order], theirs[order], np.zeros(40, dtype=np.int64))
    assert compare_paired(PerProblem(names(40), mine), turned, resamples=500) == found
    assert found.value == pytest.approx((mine - theirs).mean())
    assert found.ci95[0] < found.value < found.ci95[1]
    assert found.problems_differing == 40


def test_a_constant_difference_has_an_interval_without_width() -> None:
    half = PerProblem(names(9), np.full(9, 0.5))
    found = compare_paired(half, PerProblem(names(9), np.full(9, 0.2)))
    assert found.ci95 == (pytest.approx(0.3), pytest.approx(0.3))
    assert found.p == pytest.approx(2 / 2**9)
    assert compare_paired(half, half).to_json() == {
        "difference": 0.0, "ci95": [0.0, 0.0], "p": 1.0, "problems_differing": 0
    }  # fmt: skip


def test_other_problems_are_refused() -> None:
    mine = PerProblem(["a", "b", "c"], np.zeros(3))
    with pytest.raises(ShepherdError, match=r'2 only in the first, 1 only in the second .*"b".*the same ids'):
        compare_paired(mine, PerProblem(["a", "d"], np.zeros(2)))
    with pytest.raises(ShepherdError, match=r'0 only in the first, 1 only in the second .*"d"'):
        compare_paired(mine, PerProblem(["a", "b", "c", "d"], np.zeros(4)))
    with pytest.raises(ShepherdError, match='problem "a" stands twice'):
        compare_paired(PerProblem(["a", "b", "a"], np.zeros(3)), mine)


def test_what_drawn_subsets_explain_is_no_difference() -> None:
    """A vote that is right as often as the exact rule, measured on 200 subsets of each problem."""
    rng = np.random.default_rng(0)
    exact = rng.choice([0.02, 0.3, 0.5, 0.9, 0.999, 1.0], 3000)
    subsets = np.full(3000, 200)
    drawn = rng.binomial(200, exact) / 200
    assert (np.abs(drawn - exact) > 1e-9).mean() > 0.5
    assert differing(drawn, exact, subsets, None).mean() < 0.005
    assert differing(exact, drawn, None, subsets).mean() < 0.005
    assert differing(drawn, rng.binomial(200, exact) / 200, subsets, subsets).mean() < 0.005
    assert differing(drawn, exact, np.zeros_like(subsets), None).mean() > 0.5  # were they said to be exact
    assert differing(np.abs(drawn - 0.5), exact, subsets, None).mean() > 0.8


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and none below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_and_bonferronis(p: list[float]) -> None:
    found = holm(p)
    assert all(a <= b <= min(1.0, len(p) * a) for a, b in zip(p, found, strict=True))
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)


def test_the_detectable_difference_hangs_on_the_spread_not_on_the_gap() -> None:
    even = np.repeat([1.0, -1.0, 0.0], [60, 60, 880])
    expected = (1.962 + 0.842) * even.std(ddof=1) / np.sqrt(1000)
    assert detectable_difference(even) == pytest.approx(expected, rel=1e-3)
    shifted = even + 0.01  # another gap, the same spread
    assert detectable_difference(shifted) == pytest.approx(expected, rel=1e-3)
    found = [detectable_difference(even, compared) for compared in (1, 5, 13)]
    assert found == sorted(found, key=lambda each: each or 0) and len(set(found)) == 3


def test_no_fewer_problems_are_detectable_than_the_test_needs() -> None:
    one = np.zeros(500)
    one[0] = 1.0
    assert detectable_difference(one) == pytest.approx(6 / 500)  # 2 of 2^6 flips is below 5%, 2 of 2^5 not


def test_nothing_is_said_of_what_would_have_been_seen_where_nothing_can_be() -> None:
    assert detectable_difference(np.zeros(1000)) is None
    assert detectable_difference(np.array([1.0, -1.0, 0.0, 0.0, 1.0])) is None
    agree = compare_paired(PerProblem(names(50), np.ones(50)), PerProblem(names(50), np.ones(50)))
    few = compare_paired(PerProblem(names(5), np.ones(5)), PerProblem(names(5), np.array([0.0, 1, 0, 1, 1])))
    assert judge({"a": agree})["a"].verdict.startswith("no difference shown; the two agree on every problem")
    assert judge({"a": few})["a"].verdict == "no difference shown; 5 problems are too few to show any"


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "says"),
    [
        (0.01, 0.09, 0.01, "better than majority"),
        (-0.09, -0.01, 0.01, "worse than majority"),
        (0.01, 0.09, 0.06, "no difference shown; a difference of 4.1 points or more would have been seen"),
        (-0.01, 0.09, 0.01, "no difference shown; a difference of 4.1 points or more would have been seen"),
        (0.0, 0.09, 0.01, "no difference shown; a difference of 4.1 points or more would have been seen"),
        (-0.09, 0.0, 0.01, "no difference shown; a difference of 4.1 points or more would have been seen"),
    ],
)
def test_a_verdict_needs_interval_and_p(low: float, high: float, p_holm: float, says: str) -> None:
    assert verdict(difference(low, high), p_holm, 0.0401).startswith(says)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.none() | st.floats(0.001, 1))
def test_no_verdict_beyond_the_data(
    middle: float, half: float, p_holm: float, detectable: float | None
) -> None:
    found = difference(middle - half, middle + half)
    said = verdict(found, p_holm, detectable, "the other")
    shown = p_holm <= 0.05 and (found.ci95[0] > 0 or found.ci95[1] < 0)
    assert said.startswith("no difference shown") != shown
    assert said.startswith("better than the other") == (shown and middle > 0)


def test_a_family_is_corrected_together() -> None:
    rng = np.random.default_rng(0)
    ids, base = names(200), PerProblem(names(200), (rng.random(200) < 0.5).astype(float))
    up = np.where(rng.random(200) < 0.09, 1.0, base.accuracy)
    family = {"up": compare_paired(PerProblem(ids, up), base)}
    same = compare_paired(base, base)
    alone = judge(family)["up"]
    assert alone.verdict == "better than majority" and alone.p_holm == family["up"].p
    among = judge({**family, **{f"same{index}": same for index in range(2000)}})["up"]
    assert among.p_holm == pytest.approx(min(1, 2001 * family["up"].p))
    assert among.verdict.startswith("no difference shown; a difference of")
    assert among.detectable is not None and alone.detectable is not None
    assert among.detectable > alone.detectable
