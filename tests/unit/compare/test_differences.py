"""The differences of a comparison: which there are, their signs, and the sentence they support."""

from __future__ import annotations

import numpy as np
import pytest

from eval.report import RerankReport, evaluate
from generation.compare.cell import Cell
from generation.compare.cost import Cost, generated_tokens
from generation.compare.differences import Named, answer_of, differences_of
from generation.compare.run import common_problems
from generation.config import AnswersConfig
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool

PROBLEMS = 60
REST = (Cost(None, None, None, None), AnswersConfig())


def pools(right: float, votes_agree: bool, seed: int) -> list[ProblemPool]:
    """Four candidates a problem; the wrong ones agree with one another or not."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(PROBLEMS):
        answers = [1 if rng.random() < right else 2 + (0 if votes_agree else index) for index in range(4)]
        texts = tuple(
            Candidate(f"Step 1: it is so. The answer is: {answer}", "g", None, 5) for answer in answers
        )
        found.append(ProblemPool(Problem(f"p{number}", f"question {number}", "1"), texts))
    return found


def report(pool: list[ProblemPool], knows: bool) -> RerankReport:
    """A verifier that knows which candidates are right, or one that is always sure."""
    scores = [
        [[0.9 if each.text.endswith(" 1") or not knows else 0.1] for each in problem.candidates]
        for problem in pool
    ]
    return evaluate(pool, scores, answer_style="auto", bootstrap=500)


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    """A weak generator that the good verifier helps, a strong one with nothing to be helped."""
    weak, strong = pools(0.35, True, 0), pools(1.0, True, 1)
    return [
        Cell(name, verifier, report(pool, knows), *REST)
        for name, pool in (("weak", weak), ("strong", strong))
        for verifier, knows in (("good", True), ("blind", False))
    ]


@pytest.fixture(scope="module")
def found(cells: list[Cell]) -> list[Named]:
    return differences_of(cells, 500, 0)


def test_every_pair_is_compared_once(found: list[Named]) -> None:
    assert [each.asked.what for each in found] == [
        "strong minus weak, majority vote",
        "strong minus weak, good",
        "strong minus weak, blind",
        "blind minus good, on weak",
        "blind minus good, on strong",
        "gain of good over majority: strong minus weak",
        "gain of blind over majority: strong minus weak",
    ]


def test_a_difference_is_that_of_the_reports(cells: list[Cell], found: list[Named]) -> None:
    weak, blind, strong, _ = (cell.report for cell in cells)
    by_name = {each.asked.what: each.judged for each in found}
    majority = strong.rules["majority"].value - weak.rules["majority"].value
    assert by_name["strong minus weak, majority vote"].found.value == pytest.approx(majority)
    verifiers = blind.rules["min"].value - weak.rules["min"].value
    assert by_name["blind minus good, on weak"].found.value == pytest.approx(verifiers)
    gain = strong.paired["min"].value - weak.paired["min"].value
    assert by_name["gain of good over majority: strong minus weak"].found.value == pytest.approx(gain)
    assert gain < -0.2


def test_verdicts_are_corrected_together(found: list[Named]) -> None:
    assert all(each.judged.p_holm >= each.judged.found.p for each in found)
    verdicts = {each.asked.what: each.judged.verdict for each in found}
    assert verdicts["blind minus good, on weak"] == "worse than good"
    # On the strong generator's pool, where all is right, nothing can differ.
    none = next(each for each in found if each.asked.what == "blind minus good, on strong")
    assert none.judged.found.problems_differing == 0
    assert not none.shown


def test_the_answer_names_who_is_helped_more(cells: list[Cell], found: list[Named]) -> None:
    said = answer_of(cells, found)
    assert "it helps weak more than strong" in said
    assert said.index(" for weak") < said.index(" for strong")
    # The order in which they are named changes no sign of what is said.
    turned = [*cells[2:], *cells[:2]]
    again = answer_of(turned, differences_of(turned, 500, 0))
    assert "it helps weak more than strong" in again
    gap = said.partition("the gains differ by ")[2].partition(" points")[0]
    assert gap == again.partition("the gains differ by ")[2].partition(" points")[0]
    assert gap.startswith("+")


def test_what_is_not_shown_is_said_with_what_would_have_been_seen() -> None:
    same = [
        Cell(name, "good", report(pools(0.5, True, seed), knows=True), *REST)
        for name, seed in (("a", 3), ("b", 4))
    ]
    said = answer_of(same, differences_of(same, 500, 0))
    assert "is not shown" in said
    assert "would have been seen at this size" in said


def test_without_a_verifier_the_votes_are_compared() -> None:
    alone = [
        Cell(
            name,
            "none",
            evaluate(pools(right, True, 0), None, answer_style="auto", bootstrap=200),
            *REST,
        )
        for name, right in (("a", 0.4), ("b", 0.9))
    ]
    found = differences_of(alone, 200, 0)
    assert [each.asked.what for each in found] == ["b minus a, majority vote"]
    assert found[0].judged.verdict == "better than a"
    assert "no verifier was used" in answer_of(alone, found)


def test_problems_are_matched_by_question_whatever_their_ids() -> None:
    mine, theirs = pools(0.5, True, 0)[:5], pools(0.5, True, 1)[2:]
    theirs = [
        ProblemPool(Problem(f"row {place}", f"  {each.problem.question}", "1"), each.candidates)
        for place, each in enumerate(theirs)
    ]
    assert common_problems({"a": mine, "b": theirs}) == {"a": [2, 3, 4], "b": [0, 1, 2]}
    # A question that stands twice: the first goes with the first, and the second with none.
    twice = [mine[2], mine[2], mine[4]]
    assert common_problems({"a": mine, "b": twice}) == {"a": [2, 4], "b": [0, 2]}


def test_a_problem_that_one_pool_cannot_grade_is_not_compared() -> None:
    mine = pools(0.5, True, 0)[:3]
    ungraded = ProblemPool(Problem("p1", "question 1", None), mine[1].candidates)
    assert common_problems({"a": mine, "b": [mine[0], ungraded, mine[2]]}) == {"a": [0, 2], "b": [0, 2]}


def test_pools_of_other_problems_are_refused() -> None:
    mine = pools(0.5, True, 0)
    other = [ProblemPool(Problem("p0", "another question", "1"), mine[0].candidates)]
    with pytest.raises(ShepherdError, match="a and b: no question with a gold answer is in all"):
        common_problems({"a": mine, "b": other})


def test_cost_is_known_where_its_parts_are() -> None:
    assert Cost(10.0, 20.0, 3, 5).operations == 2 * (10 * 3 + 20 * 5)
    assert Cost(10.0, 0.0, 3, 0).operations == 60
    assert Cost(10.0, 20.0, None, 5).operations is None
    assert Cost(None, 20.0, 3, 5).at(2) == {
        "n": 2,
        "generated_tokens": None,
        "scored_tokens": 40.0,
        "operations": None,
    }
    mine = pools(0.5, True, 0)
    assert generated_tokens(mine) == 5
    without = ProblemPool(mine[0].problem, (Candidate("x", "g", None, None),))
    assert generated_tokens([*mine, without]) is None
