"""The embedded world: splits, kinds, sizes, determinism, labels of candidates, its tokenizer."""

import itertools
from collections import Counter

import pytest

from generation.embedded import events, questions
from generation.embedded.label import label_candidates
from generation.embedded.world import (
    MAX_STEPS,
    MIN_STEPS,
    EmbeddedProblem,
    Split,
    generate_problems,
    split_of,
    stream_problems,
)
from shepherd import steps as step_text
from shepherd.answers import extract
from shepherd.records import Candidate

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@pytest.fixture(scope="module")
def drawn() -> dict[Split, list[EmbeddedProblem]]:
    return {split: generate_problems(split, 500, seed=5) for split in SPLITS}


def test_no_quantity_graph_stands_in_two_splits(drawn: dict[Split, list[EmbeddedProblem]]) -> None:
    graphs = {split: {problem.answer.canonical for problem in problems} for split, problems in drawn.items()}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not graphs[one] & graphs[other]
    for split, problems in drawn.items():
        assert all(split_of(problem.answer) == split for problem in problems)
        assert len(graphs[split]) == len(problems)


def test_the_graph_ignores_names_things_and_wording() -> None:
    """Many tellings of one calculation exist, and all fall into the same split."""
    told: dict[str, set[str]] = {}
    for problem in itertools.islice(stream_problems("train", 0), 20_000):
        told.setdefault(problem.answer.canonical, set()).add(problem.problem.question)
    assert sum(len(questions) > 1 for questions in told.values()) > 50


def test_the_same_seed_gives_the_same_problems() -> None:
    one, other = (generate_problems("test", 20, seed=3) for _ in range(2))
    assert [p.problem for p in one] == [p.problem for p in other]
    assert [p.problem for p in one] != [p.problem for p in generate_problems("test", 20, seed=4)]


def test_the_world_is_as_large_as_it_says(drawn: dict[Split, list[EmbeddedProblem]]) -> None:
    kinds = Counter(kind for problems in drawn.values() for problem in problems for kind in problem.kinds)
    assert len(events.EVENTS) + len(events.COMPARISONS) >= 15
    assert set(kinds) == {*events.EVENTS, *events.COMPARISONS, *questions.ALONE, *questions.COMPARED}
    assert min(kinds.values()) >= 20
    assert kinds.keys() >= events.TWINS
    lengths = {len(problem.solution) for problems in drawn.values() for problem in problems}
    assert lengths == set(range(MIN_STEPS, MAX_STEPS + 1))
    values = [quantity.value for problem in drawn["train"] for quantity in problem.quantities]
    assert max(values) >= 300 and all(value.denominator == 1 and value > 0 for value in values)
    assert any("old hats" in problem.problem.question for problem in drawn["train"])


def test_a_solution_says_the_answer(drawn: dict[Split, list[EmbeddedProblem]]) -> None:
    for problem in drawn["validation"]:
        assert extract(problem.solution_text, "shepherd") == problem.answer.value
        assert step_text.split(problem.solution_text).steps == problem.solution
        assert problem.problem.answer == str(problem.answer.value)


def test_twins_can_be_made_rare() -> None:
    def share(weight: float) -> float:
        problems = generate_problems("train", 300, 0, twin_share=weight)
        return sum(bool(events.TWINS.intersection(problem.kinds)) for problem in problems) / len(problems)

    assert share(1.0) > 0.5 > 0.2 > share(0.05)
    assert share(0.0) == 0.0


def test_rows_are_labelled_once_a_distinct_solution() -> None:
    problem = generate_problems("train", 1, 0)[0]
    right = problem.solution_text
    wrong = step_text.render(["1 + 1 = 3", *problem.solution])
    candidates = [Candidate(text, "g") for text in (right, wrong, right, " " + right, "", "ки")]
    rows = list(label_candidates(problem, candidates))
    assert [row.labels for row in rows] == [
        (1.0,) * len(problem.solution),
        (0.0, *(1.0,) * len(problem.solution)),
    ]
    assert {row.id for row in rows} == {problem.problem.id} and {row.source for row in rows} == {"g"}
