"""Answers compared as mathematics: a grader that hangs, dies or talks is killed, counted, and replaced."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from eval import math_worker
from eval.equivalence import Equivalence
from eval.grading import grade, grade_pools
from eval.report import evaluate
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool

# Hangs, dies or answers by what it is asked; the real worker's own loop around it.
FAKE = """
import os, sys, time
sys.path.insert(0, {folder!r})
import math_worker

def is_same(gold, answer):
    if answer == "hang":
        time.sleep(3600)
    if answer == "die":
        os._exit(1)
    if answer == "talk":
        print("1")
    if answer == "unreadable":
        return None
    return gold.strip("x") == answer.strip("x")

math_worker.is_same = is_same
math_worker.main()
"""


@pytest.fixture
def worker(tmp_path: Path) -> list[str]:
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE.format(folder=str(Path(math_worker.__file__).parent)))
    return [sys.executable, str(script)]


def pool(gold: str | None, *answers: str, name: str = "p") -> ProblemPool:
    candidates = tuple(Candidate(rf"so \boxed{{{each}}}") for each in answers)
    return ProblemPool(Problem(name, "?", gold), candidates)


def test_a_grader_that_hangs_is_killed_and_the_next_pair_gets_an_answer(worker: list[str]) -> None:
    with Equivalence(timeout_s=0.5, worker=worker) as same:
        assert same.compare("7", "7x") is True
        started = time.monotonic()
        assert same.compare("7", "hang") is None
        assert 0.5 <= time.monotonic() - started < 30
        assert same.compare("7", "7x") is True
        assert same.compare("7", "die") is None
        assert same.compare("7", "8") is False
        assert same.killed == 2
        assert same.compare("7", "hang") is None
        assert same.killed == 2  # known by now: nobody waits twice


def test_what_cannot_be_read_is_no_kill(worker: list[str]) -> None:
    with Equivalence(worker=worker) as same:
        assert same.compare("7", "unreadable") is None
        assert same.compare("7", "talk") is False  # what a library prints is no verdict
        assert same.killed == 0


def test_answers_fall_into_classes_in_the_order_they_come(worker: list[str]) -> None:
    with Equivalence(timeout_s=0.5, worker=worker) as same:
        found = same.classes("7", ["x7", "8", None, "hang", "8x", "9", "hang", "7"])
    assert found.answers == ("7", "8", None, None, "8", "9", None, "7")
    assert found.timeouts == 2  # both candidates that gave the answer nobody could compare


def test_a_worker_that_does_not_start_is_one_line() -> None:
    with Equivalence(worker=[sys.executable, "-c", "raise SystemExit(1)"]) as same:  # noqa: SIM117
        with pytest.raises(ShepherdError, match=r"^math-verify: its process does not start; .*grader=exact$"):
            same.compare("1", "2")


def test_nothing_is_started_for_exact_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Equivalence, "_start", lambda _: pytest.fail("a process was started"))
    found = grade_pools([pool("7", "7.0", "8"), pool(r"\frac{1}{2}", "0.5")], "auto")
    assert [each.right for each in found] == [(True, False), (True,)]
    assert not any(each.by_math_verify for each in found)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (r"3\pi", r"\pi \cdot 3", True),
        (r"x^2+2x+1", r"(x+1)^2", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"(3, 4)", r"(3,4)", True),
        (r"(3, 4)", r"(4, 3)", False),
        (r"[1, 2)", r"(1, 2]", False),
        (r"x = 5", "5", True),
        (r"\text{Friday}", "Friday", True),
        (r"\text{Friday}", "Monday", False),
        (r"\frac{\pi}{2}", r"1.5708", False),
    ],
)
def test_the_real_grader(mathematics: Equivalence, gold: str, answer: str, expected: bool) -> None:
    assert mathematics.compare(gold, answer) is expected


@pytest.fixture(scope="module")
def mathematics() -> object:
    with Equivalence(timeout_s=20) as same:
        yield same


HOSTILE = [
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "x" * 1_000_000,
    "\0" * 10,
    "{" * 5000,
    "{" * 500 + "}" * 500,
    "\ud800",
    "\n]\n1\n",
    '", "1"]',
    "",
    " ",
]


@pytest.mark.parametrize("answer", HOSTILE, ids=[ascii(each[:12]) for each in HOSTILE])
@pytest.mark.slow
def test_hostile_texts_cost_at_most_the_limit_and_are_never_right(answer: str) -> None:
    with Equivalence(timeout_s=2) as same:
        assert not same.compare(r"3\pi", answer)
        assert same.compare(r"3\pi", r"\pi 3") in (True, None)  # None: the limit, on a busy machine
        assert len(same.classes(r"3\pi", [answer, answer]).answers) == 2


def test_equal_answers_are_one_vote(mathematics: Equivalence) -> None:
    mine = pool(r"\frac{\pi}{2}", r"\pi/2", r"2\pi", r"\pi \cdot 2", r"2 \pi", r"0.5\pi", "I cannot")
    graded = grade(mine, "boxed", mathematics)
    assert graded.answers[:5] == (r"\frac{\pi}{2}", r"2\pi", r"2\pi", r"2\pi", r"\frac{\pi}{2}")
    assert graded.right[:5] == (True, False, False, False, True)
    assert grade(mine, "boxed", mathematics) == graded


def test_a_report_counts_what_math_verify_did(monkeypatch: pytest.MonkeyPatch, worker: list[str]) -> None:
    started = Equivalence.__init__
    monkeypatch.setattr(Equivalence, "__init__", lambda self, limit: started(self, limit, worker))
    pools = [pool("7", "7", "8"), pool("a b", "xa bx", "hang", name="q")]
    found = evaluate(pools, None, answer_style="boxed", grader_timeout_s=0.5, bootstrap=100)
    assert found.problems == 2
    assert found.pass_at_1 == 0.5
    assert found.policies["problems_by_math_verify"] == 1
    assert found.policies["grader_timeouts"] == 1
    assert found.policies["candidates_without_answer"] == 1
    exact = evaluate(pools, None, answer_style="boxed", grader="exact", bootstrap=100)
    assert (exact.problems, exact.policies["problems_without_gold"]) == (1, 1)
    assert "grader_timeouts" not in exact.policies
