"""From texts to ballots: each candidate's answer, and whether it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from eval.rules import Ballots
from eval.scores import FloatArray
from shepherd.answers import AnswerStyle, extract
from shepherd.records import ProblemPool


@dataclass(frozen=True, slots=True)
class GradedProblem:
    """One problem's candidates, graded; one entry a candidate, in the pool's order.

    Attributes:
        id: of the problem.
        gold: the right answer; None where the problem has none that can be read.
        answers: None where a candidate has no answer.
    """

    id: str
    gold: Fraction | None
    answers: tuple[Fraction | None, ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """Whether each answer equals the gold answer, as exact numbers; no answer equals nothing."""
        return tuple(answer is not None and answer == self.gold for answer in self.answers)


def grade(pool: ProblemPool, style: AnswerStyle) -> GradedProblem:
    """Read the answer of each candidate in the pool's style, and the gold answer in style ``gold``.

    Example:
        >>> from shepherd.records import Candidate, Problem
        >>> texts = ("so 6 / 2 = 3. The answer is: 3", "The answer is: 3.0", "I give up")
        >>> pool = ProblemPool(Problem("p", "?", "3"), tuple(Candidate(text) for text in texts))
        >>> grade(pool, "shepherd").right
        (True, True, False)
    """
    gold = None if pool.problem.answer is None else extract(pool.problem.answer, "gold")
    return GradedProblem(pool.problem.id, gold, tuple(extract(each.text, style) for each in pool.candidates))


def ballots_of(
    pools: Sequence[ProblemPool],
    graded: Sequence[GradedProblem],
    scores: Mapping[str, Sequence[FloatArray]],
    extra: Mapping[str, Sequence[FloatArray]],
) -> Ballots:
    """Lay out problems with pools of one size as arrays.

    Args:
        pools: the problems, all with N candidates.
        graded: their grades, in the same order.
        scores: solution scores by name; one array of shape ``(N,)`` a problem.
        extra: the same for control scores.

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
        extra={name: np.stack(list(rows)) for name, rows in extra.items()},
    )


def _codes(answers: Sequence[Fraction | None]) -> list[int]:
    """Number the answers in order of appearance; -1 for none."""
    seen: dict[Fraction, int] = {}
    return [-1 if answer is None else seen.setdefault(answer, len(seen)) for answer in answers]
