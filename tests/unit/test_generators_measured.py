"""What the ruler says of a generator, against counts made by hand and by brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.generators import differences, measure
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool


def pool(
    identity: str, answers: list[str | None], gold: str | None = "1", finish: str = "stop"
) -> ProblemPool:
    texts = ["I give up" if each is None else f"so it is. The answer is: {each}" for each in answers]
    made = tuple(Candidate(text, finish_reason=finish, tokens=10 + at) for at, text in enumerate(texts))
    return ProblemPool(Problem(identity, f"{identity}?", gold), made)


def test_the_accuracies_of_two_problems_worked_by_hand() -> None:
    greedy = [pool("a", ["1"]), pool("b", ["2"])]
    sampled = [pool("a", ["1", "1", "2", None]), pool("b", ["2", "1", "2", "3"])]
    scores = [[[0.9, 0.8], [0.7], [0.95, 0.1], [0.99]], [[0.2], [0.6], [0.9], [0.1]]]
    found = measure(greedy, sampled, scores, answer_style="shepherd")
    assert {name: values.tolist() for name, values in found.accuracy.items()} == {
        "greedy": [1.0, 0.0],
        "sampled": [0.5, 0.25],
        "majority": [1.0, 0.0],
        "best_of_n": [1.0, 0.0],  # of b the wrong candidate with .9; of a not the one without an answer
    }
    assert found.answered == 7 / 8
    assert found.tokens == 11.5
    assert found.cut == 0.0
    assert found.score == pytest.approx(np.mean([0.8, 0.7, 0.1, 0.99, 0.2, 0.6, 0.9, 0.1]))
    assert found.score_of_right == pytest.approx(np.mean([0.8, 0.7, 0.6]))
    assert found.gap == pytest.approx(found.score - 3 / 8)
    # a: right .8 and .7 against wrong .1 and .99: 2 of 4; b: right .6 against .2, .9, .1: 2 of 3
    assert found.within_question == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert found.to_json(100)["greedy"]["accuracy"] == 0.5


def test_without_a_verifier_there_is_no_best_of_n_and_no_gap() -> None:
    found = measure([pool("a", ["1"])], [pool("a", ["1", "2"])], None, answer_style="shepherd")
    assert "best_of_n" not in found.accuracy and found.gap is None
    assert "best_of_n" not in found.to_json(100)


def test_a_problem_without_gold_is_left_out_and_none_at_all_is_an_error() -> None:
    greedy = [pool("a", ["1"]), pool("b", ["1"], gold=None)]
    sampled = [pool("a", ["1", "2"]), pool("b", ["1", "1"], gold=None)]
    assert measure(greedy, sampled, None, answer_style="shepherd").ids == ["a"]
    with pytest.raises(ShepherdError, match="none of 1 has a gold answer"):
        measure(greedy[1:], sampled[1:], None, answer_style="shepherd")


def test_pools_of_other_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="the same problems"):
        measure([pool("a", ["1"])], [pool("b", ["1"])], None, answer_style="shepherd")


def test_the_share_that_was_cut() -> None:
    sampled = [pool("a", ["1", "1"], finish="length"), pool("b", ["1", "1"])]
    found = measure([pool("a", ["1"]), pool("b", ["1"])], sampled, None, answer_style="shepherd")
    assert found.cut == 0.5


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["1", "2", None]), st.sampled_from([0.1, 0.5, 0.9])),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_best_of_n_and_sampled_are_those_of_brute_force(drawn: list[list[tuple[str | None, float]]]) -> None:
    sampled = [pool(f"p{at}", [answer for answer, _ in each]) for at, each in enumerate(drawn)]
    greedy = [pool(f"p{at}", [each[0][0]]) for at, each in enumerate(drawn)]
    scores = [[[score] for _, score in each] for each in drawn]
    found = measure(greedy, sampled, scores, answer_style="shepherd")
    for at, each in enumerate(drawn):
        assert found.accuracy["sampled"][at] == pytest.approx(sum(answer == "1" for answer, _ in each) / 3)
        stated = [(score, answer) for answer, score in each if answer is not None]
        best = max((score for score, _ in stated), default=None)
        first = [answer for score, answer in stated if score == best]
        expected = sum(answer == "1" for answer in first) / len(first) if first else 0.0
        assert found.accuracy["best_of_n"][at] == pytest.approx(expected)


def test_differences_are_paired_by_id() -> None:
    names = ["a", "b", "c", "d"]
    right = [["1"], ["1"], ["2"], ["1"]]
    first = [["1"], ["2"], ["2"], ["2"]]
    made = []
    for answers, order in ((right, [0, 1, 2, 3]), (first, [3, 1, 0, 2])):
        pools = [pool(names[at], answers[at]) for at in order]
        made.append(measure(pools, pools, None, answer_style="shepherd"))
    found = differences(made[0], made[1], resamples=200)
    assert found["greedy"].value == 0.5
    assert found["greedy"].problems_differing == 2
    low, high = found["greedy"].ci95
    assert low <= 0.5 <= high
    # exact sign flips over the two problems that differ: both signs alike is half of all
    flips = [abs(sum(signs)) >= 2 for signs in product((-1, 1), repeat=2)]
    assert found["greedy"].p == pytest.approx(sum(flips) / len(flips))
