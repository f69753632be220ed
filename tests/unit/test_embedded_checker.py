"""The exact step checker: hand-made solutions, mutations of right ones, and text that is no solution."""

import json
import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.embedded import graph
from generation.embedded.checker import Checker
from generation.embedded.world import EmbeddedProblem, generate_problems

CASES = json.loads((Path(__file__).parents[1] / "golden" / "embedded_checker.json").read_text("utf-8"))
SOLUTIONS = [(problem, solution) for problem in CASES for solution in problem["solutions"]]


def quantity(formula: str, givens: list[graph.Quantity]) -> graph.Quantity:
    """Build a quantity from a formula over g0, g1, …; bare numbers are constants."""
    wrapped = re.sub(r"(?<!g)\b(\d+)\b", r"c(\1)", formula)
    names: dict[str, Any] = {f"g{i}": one for i, one in enumerate(givens)}
    built = eval(wrapped, {"__builtins__": {}, "c": graph.constant, **names})
    assert isinstance(built, graph.Quantity)
    return built


def checker(case: dict[str, Any]) -> Checker:
    givens = [graph.given(i, value) for i, value in enumerate(case["givens"])]
    computed = [quantity(formula, givens) for formula in case["quantities"]]
    return Checker([*givens, *computed], quantity(case["answer"], givens))


def test_there_are_at_least_sixty_solutions() -> None:
    assert len(SOLUTIONS) >= 60
    labels = [label for _, solution in SOLUTIONS for label in solution["labels"]]
    assert labels.count(0) >= 30 and labels.count(1) >= 30


@pytest.mark.parametrize(("case", "solution"), SOLUTIONS, ids=[solution["why"] for _, solution in SOLUTIONS])
def test_hand_made_solution(case: dict[str, Any], solution: dict[str, Any]) -> None:
    verdicts = checker(case).check(solution["steps"])
    assert [int(verdict.right) for verdict in verdicts] == solution["labels"], verdicts


@pytest.fixture(scope="module")
def problems() -> list[EmbeddedProblem]:
    return generate_problems("validation", 400, seed=11)


def test_every_right_solution_passes(problems: list[EmbeddedProblem]) -> None:
    for problem in problems:
        assert all(verdict.right for verdict in Checker.of(problem).check(problem.solution)), problem


EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def result(left: int, sign: str, right: int) -> Fraction:
    return {"+": Fraction(left + right), "-": Fraction(left - right), "*": Fraction(left * right)}.get(
        sign
    ) or Fraction(left, right)


def test_a_changed_result_always_falls(problems: list[EmbeddedProblem]) -> None:
    rng = random.Random(0)
    for problem in problems:
        for place, step in enumerate(problem.solution):
            found = EQUATION.search(step)
            assert found
            wrong = int(found[4]) + rng.choice((-10, -2, -1, 1, 2, 10))
            mutated = step[: found.start(4)] + str(wrong) + step[found.end(4) :]
            verdict = Checker.of(problem).check([*problem.solution[:place], mutated])[-1]
            assert not verdict.right and verdict.reason in ("arithmetic", "malformed")


def mutations(step: str) -> list[str]:
    """The step with one operand or the operator changed and the result worked out anew, no answer stated."""
    found = EQUATION.search(step)
    assert found
    left, sign, right = int(found[1]), found[2], int(found[3])
    changed = [(left + d, sign, right) for d in (-2, -1, 1, 2, 10)]
    changed += [(left, sign, right + d) for d in (-2, -1, 1, 2, 10)]
    changed += [(left, other, right) for other in "+-*/" if other != sign]
    texts = []
    for a, operator, b in changed:
        if a > 0 and b > 0 and result(a, operator, b) > 0 and result(a, operator, b).denominator == 1:
            texts.append(f"{step[: found.start()]}{a} {operator} {b} = {result(a, operator, b)}")
    return texts


def test_a_changed_number_or_operator_falls_unless_it_states_another_quantity(
    problems: list[EmbeddedProblem],
) -> None:
    """What survives must be true of the problem: its value is one that lies on a way to the answer."""
    survived = total = 0
    for problem in problems:
        on_the_way = graph.partial_meanings(problem.quantities).keys() | {q.value for q in problem.quantities}
        for place, step in enumerate(problem.solution):
            for mutated in mutations(step):
                total += 1
                verdict = Checker.of(problem).check([*problem.solution[:place], mutated])[-1]
                if verdict.right:
                    survived += 1
                    assert Fraction(mutated.rsplit("= ", 1)[1]) in on_the_way, (problem.problem, mutated)
    assert total > 10_000
    assert survived / total < 0.04


def test_steps_after_an_error_are_judged_by_value(problems: list[EmbeddedProblem]) -> None:
    """A right step stays right whatever stands before it."""
    for problem in problems[:100]:
        spoilt = ["Step 1: 1 + 1 = 3", *problem.solution]
        assert [verdict.right for verdict in Checker.of(problem).check(spoilt)] == [False] + [True] * len(
            problem.solution
        )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text("0123456789+-*/()=% .,$x", max_size=60))
def test_any_text_gets_a_verdict(text: str) -> None:
    verdict = checker(CASES[0]).check([text])[0]
    assert verdict.reason in {"right", "malformed", "arithmetic", "use", "number", "empty", "answer"}


@pytest.mark.parametrize(
    "text", ["1 + " * 100_000, "(" * 100_000, "9" * 100_000, "2 * " * 50 + "2 = 4", "\0\x1b[31m"]
)
def test_hostile_text_is_wrong_and_quick(text: str) -> None:
    assert not checker(CASES[0]).check([text])[0].right
