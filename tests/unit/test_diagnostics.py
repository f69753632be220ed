"""Every diagnostic by hand, against plain counting, on both sides of its bound, and with nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from eval.diagnostics import (
    Diagnostic,
    length_shift,
    minimum_on_last_step,
    rank_correlation,
    right_answer_wrong_process,
    score_entropy,
    score_range,
    text_length,
    wrong_answer_accepted,
)
from shepherd.steps import prompt, render


def test_where_the_minimum_falls() -> None:
    late = [[0.9, 0.8, 0.1]] * 9
    found = minimum_on_last_step([*late, [0.1, 0.9], [0.4]])
    # The solution of one step says nothing. Chance: nine thirds and a half, over ten.
    assert (found.value, found.bound) == pytest.approx((0.9, (1 + 0.35) / 2))
    assert found.alarm
    assert "90% of 10 solutions, by chance in 35%" in found.says
    assert not minimum_on_last_step(late).alarm  # nine are too few
    assert not minimum_on_last_step([[0.1, 0.2, 0.3]] * 20).alarm


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=4), min_size=1, max_size=10))
def test_where_the_minimum_falls_by_counting(rows: list[list[int]]) -> None:
    value = sum((row[-1] == min(row)) / row.count(min(row)) for row in rows) / len(rows)
    assert minimum_on_last_step([[each / 3 for each in row] for row in rows]).value == pytest.approx(value)


def correlate(scores: list[float], sizes: list[float], kinds: list[object]) -> Diagnostic:
    return rank_correlation("score_by_steps", "steps", np.array(scores), np.array(sizes), kinds)


def test_length_is_not_blamed_for_what_the_verdict_explains() -> None:
    """Right ones are short and score high, wrong ones long and low: within a verdict there is nothing."""
    scores = [0.9, 0.8, 0.8, 0.9, 0.2, 0.1, 0.1, 0.2] * 2
    sizes = [2.0, 2, 3, 3, 7, 7, 8, 8] * 2
    assert spearmanr(scores, sizes).statistic < -0.8
    found = correlate(scores, sizes, [size < 5 for size in sizes])
    assert found.value == 0
    assert not found.alarm


def test_correlation_by_hand() -> None:
    up, down = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert correlate(up, [1, 2, 3], [None] * 3).value == 1
    # A kind of three with -1 and one of six with +1; a kind of two is left out.
    found = correlate([*down, *up, 0.4, 0.5, 0.6, 0.1, 0.2], [1, 2, 3, *range(1, 7), 1, 2],
                      [*"aaa", *"bbbbbb", *"cc"])  # fmt: skip
    assert found.value == pytest.approx((-3 + 6) / 9)
    assert correlate([0.1 * each for each in range(10)], list(range(10)), [True] * 10).alarm
    assert correlate([-0.1 * each for each in range(10)], list(range(10)), [True] * 10).alarm
    assert correlate([0.5] * 10, list(range(10)), [True] * 10).value is None


@given(st.integers(0, 10_000))
def test_correlation_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, sizes = rng.integers(0, 6, size=12) / 5, rng.integers(1, 5, size=12)
    expected = spearmanr(scores, sizes).statistic if len({*scores}) > 1 and len({*sizes}) > 1 else None
    assert correlate(scores.tolist(), sizes.tolist(), [1] * 12).value == pytest.approx(expected)


def test_right_answers_of_a_wrong_process() -> None:
    right = [True] * 13 + [False, None]
    clean = [False] * 10 + [True, True, None, False, False]
    accepted = [True] * 6 + [False] * 4 + [True] * 5
    found = right_answer_wrong_process(right, clean, accepted)
    assert (found.value, found.bound, found.alarm) == (0.6, 0.5, True)
    assert found.says.startswith("10 of 12 right answers have a wrong step; 60% of those")
    few = right_answer_wrong_process(right[3:], clean[3:], accepted[3:])
    assert few.value == pytest.approx(3 / 7)
    assert "fewer than 10" in few.says
    assert right_answer_wrong_process([True], [True], [True]).value is None


def test_wrong_answers_that_pass() -> None:
    found = wrong_answer_accepted([False] * 10 + [True, None], [True] * 6 + [False] * 4 + [True] * 2)
    assert (found.value, found.alarm) == (0.6, True)
    assert not wrong_answer_accepted([False] * 10, [True] * 5 + [False] * 5).alarm
    assert wrong_answer_accepted([None, True], [True, True]).value is None


def test_collapsed_scores_are_seen() -> None:
    flat = 0.5 + 0.01 * np.random.default_rng(0).random(500)
    assert score_range(flat).alarm
    assert score_entropy(flat).alarm
    spread = np.linspace(0, 1, 500)
    assert not score_range(spread).alarm
    assert not score_entropy(spread).alarm
    assert score_entropy(spread).value == pytest.approx(1, abs=0.01)
    assert score_entropy(np.ones(20)).value == 0  # 1 belongs to the last bin


@pytest.mark.parametrize(("in_one", "alarm"), [(97, True), (96, False)])
def test_the_bound_of_the_entropy_is_where_it_says(in_one: int, alarm: bool) -> None:
    scores = np.array([0.99] * in_one + [0.01] * (100 - in_one))
    assert score_entropy(scores).alarm is alarm


def test_texts_of_other_lengths() -> None:
    trained = {"p5": 100, "p95": 200}
    found = length_shift([99, 100, 200, 201, 1000, 5, 5, 5, 150, 150], trained)
    assert (found.value, found.alarm) == (0.6, True)
    assert "their median is 125" in found.says or "their median is 124" in found.says
    assert not length_shift([100, 200] * 10, trained).alarm
    assert length_shift([100], None).value is None
    assert length_shift([], trained).value is None
    assert text_length("How many? ", ["2 + 2", "4"]) == len(prompt("How many?") + render(["2 + 2", "4"]))


def test_nothing_is_no_alarm_and_json() -> None:
    nothing = np.zeros(0)
    for found in (
        minimum_on_last_step([]),
        correlate([], [], []),
        right_answer_wrong_process([], [], []),
        wrong_answer_accepted([], []),
        score_range(nothing),
        score_entropy(nothing),
        length_shift([], None),
    ):
        assert found.value is None
        assert not found.alarm
        assert found.says.startswith("not measured: ")
        assert json.loads(json.dumps(found.to_json())).keys() == {"name", "value", "bound", "alarm", "says"}
