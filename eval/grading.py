r"""From texts to ballots: each candidate's answer, and whether it is right.

A gold answer that is a plain number is compared exactly. Any other (``3\pi``, an interval, a matrix) is
compared by math-verify, and answers that it holds equal are one answer in every vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from eval.equivalence import Equivalence
from eval.rules import Ballots
from eval.scores import FloatArray
from shepherd.answers import GRADER_TIMEOUT_S, AnswerStyle, Grader, extract, extract_text
from shepherd.records import ProblemPool

Answer = Fraction | str
"""An exact number; or the text that stands for all answers that math-verify holds equal."""


@dataclass(frozen=True, slots=True)
class GradedProblem:
    """One problem's candidates, graded; one entry a candidate, in the pool's order.

    Attributes:
        id: of the problem.
        gold: the right answer; None where the problem has none that can be read.
        answers: None where a candidate has no answer.
        by_math_verify: whether math-verify compared them.
        timeouts: candidates whose answer became None because its comparison took too long and was killed.
    """

    id: str
    gold: Answer | None
    answers: tuple[Answer | None, ...]
    by_math_verify: bool = False
    timeouts: int = 0

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each answer equals the gold answer; no answer equals nothing."""
        return tuple(answer is not None and answer == self.gold for answer in self.answers)


def grade(pool: ProblemPool, style: AnswerStyle, same: Equivalence | None = None) -> GradedProblem:
    """Read the answer of each candidate in the pool's style, and the gold answer in style ``gold``.

    Args:
        pool: a problem with its candidates.
        style: how the candidates state their answers.
        same: compares answers as mathematics; None compares exact numbers.

    Example:
        >>> from shepherd.records import Candidate, Problem
        >>> texts = ("so 6 / 2 = 3. The answer is: 3", "The answer is: 3.0", "I give up")
        >>> pool = ProblemPool(Problem("p", "?", "3"), tuple(Candidate(text) for text in texts))
        >>> grade(pool, "shepherd").right
        (True, True, False)
    """
    problem = pool.problem
    text = None if same is None or problem.answer is None else extract_text(problem.answer, "gold")
    if same is None or text is None:
        gold = None if problem.answer is None else extract(problem.answer, "gold")
        return GradedProblem(problem.id, gold, tuple(extract(each.text, style) for each in pool.candidates))
    found = same.classes(text, [extract_text(each.text, style) for each in pool.candidates])
    return GradedProblem(problem.id, text, found.answers, by_math_verify=True, timeouts=found.timeouts)


def grade_pools(
    pools: Sequence[ProblemPool],
    style: AnswerStyle,
    grader: Grader = "auto",
    *,
    timeout_s: float = GRADER_TIMEOUT_S,
) -> list[GradedProblem]:
    """Grade every problem, each by the grader that its gold answer calls for.

    Args:
        pools: problems with their candidates.
        style: how the candidates state their answers.
        grader: which comparison; under ``exact`` a gold answer that is no number cannot be read.
        timeout_s: seconds that math-verify is given for one pair of answers.
    """
    with Equivalence(timeout_s) as same:  # starts no process before it is asked
        return [grade(pool, style, same if _is_mathematics(pool, grader) else None) for pool in pools]


def _is_mathematics(pool: ProblemPool, grader: Grader) -> bool:
    """Is this problem one for math-verify?"""
    gold = pool.problem.answer
    if grader == "auto":
        return gold is not None and extract(gold, "gold") is None
    return grader == "math-verify"


def ballots_of(
    pools: Sequence[ProblemPool],
    graded: Sequence[GradedProblem],
    scores: Mapping[str, Sequence[FloatArray]],
    extra: Mapping[str, Sequence[FloatArray]],
    calibrated: Mapping[str, Sequence[FloatArray]] | None = None,
) -> Ballots:
    """Lay out problems with pools of one size as arrays.

    Args:
        pools: the problems, all with N candidates.
        graded: their grades, in the same order.
        scores: solution scores by name; one array of shape ``(N,)`` a problem.
        extra: the same for control scores.
        calibrated: the same of calibrated step scores.

    Returns:
        Ballots with log-likelihoods where every candidate has one.
    """
    codes = np.array([_codes(each.answers) for each in graded], dtype=np.int64)
    logprobs = [[each.logprob for each in pool.candidates] for pool in pools]
    known = all(value is not None for row in logprobs for value in row)
    return Ballots(
        ids=[each.id for each in graded],
        codes=codes,
        right=np.array([each.right for each in graded], dtype=bool),
        characters=np.array([[len(each.text) for each in pool.candidates] for pool in pools], dtype=np.int64),
        logprobs=np.array(logprobs, dtype=np.float64) if known else None,
        scores={name: np.stack(list(rows)) for name, rows in scores.items()},
        calibrated={name: np.stack(list(rows)) for name, rows in (calibrated or {}).items()},
        extra={name: np.stack(list(rows)) for name, rows in extra.items()},
    )


def _codes(answers: Sequence[Answer | None]) -> list[int]:
    """Number the answers in order of appearance; -1 for none."""
    seen: dict[Answer, int] = {}
    return [-1 if answer is None else seen.setdefault(answer, len(seen)) for answer in answers]
