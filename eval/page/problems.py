"""What the step viewer knows of each problem: answers, votes, what each rule takes, its filters.

Grades and rules are those of the report (`eval.grading`, `eval.rules`), over the whole pool of each problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.grading import Answer, GradedProblem, ballots_of, grade_pools
from eval.rules import Ballots, taken
from eval.scores import (
    AGGREGATIONS,
    SOFTMIN_TEMPERATURE,
    Aggregation,
    FloatArray,
    aggregate,
    solution_scores,
)
from eval.steps import THRESHOLD
from shepherd import steps as step_text
from shepherd.answers import AnswerStyle, Grader
from shepherd.records import ProblemPool, ScoreLine

MOST = 100_000
"""Candidates that one run brings into the page: some 30 MB. Of larger pools each problem's share is shown."""

LEAST = 16
"""Candidates of a problem that are shown whatever the number of problems."""

BLOCK = 50
"""Problems packed together: what the page unpacks to show one of them."""

FILTERS = {
    "verifier_right": "verifier right, majority wrong",
    "majority_right": "majority right, verifier wrong",
    "disagree": "verifier and majority take different answers",
    "alarm": "any alarm",
    "alarm_accepted": "alarm: a wrong answer with every step accepted",
    "alarm_rejected": "alarm: a right answer with a step rejected",
    "alarm_silent": "alarm: nobody answered",
    "majority_wrong": "majority wrong",
    "tied": "the vote is tied",
    "none_right": "no candidate right",
    "ungraded": "no gold answer",
}
"""Sets of problems that the viewer can show, and how it calls them; a problem's bits are in this order.

Right and wrong are chances where rules tie: the verifier is right and majority wrong where its chance of
being right is the larger one, so the first two sets together are the problems on which the two differ.
"""

_NEED_SCORES = {"verifier_right", "majority_right", "disagree", "alarm_accepted", "alarm_rejected"}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The problems of one run, for the page.

    Attributes:
        index: what the list, search and filters need of all problems, as JSON.
        blocks: candidates with their steps, `BLOCK` problems each, as JSON.
        counts: problems in each filter that the run can have.
    """

    index: dict[str, Any]
    blocks: list[list[dict[str, Any]]]
    counts: dict[str, int]


def view(
    pools: Sequence[ProblemPool],
    scores: Sequence[ScoreLine] | None,
    *,
    style: AnswerStyle,
    grader: Grader,
    grader_timeout_s: float,
    headline: Aggregation,
    softmin_temperature: float = SOFTMIN_TEMPERATURE,
    most: int = MOST,
) -> Viewer:
    """Grade every problem and work out what the viewer shows of it.

    Args:
        pools: problems with their candidates.
        scores: their step scores, in the same order; None where there are none.
        style: how the candidates state their answers.
        grader: how answers are compared.
        grader_timeout_s: seconds that math-verify is given for one pair of answers.
        headline: the rule that the verifier was made for, which the filters compare with majority.
        softmin_temperature: T of soft-min, that of the run's own figures.
        most: candidates in the page; of larger pools those that a rule takes, then the first.

    Returns:
        Index, blocks and counts.
    """
    graded = grade_pools(pools, style, grader, timeout_s=grader_timeout_s)
    given: Sequence[ScoreLine | None] = scores or [None] * len(pools)
    share = max(LEAST, most // max(1, len(pools)))
    lines = []
    details = []
    counts = {name: 0 for name in FILTERS if scores is not None or name not in _NEED_SCORES}
    rules: dict[str, None] = {}
    for pool, grade, line in zip(pools, graded, given, strict=True):
        step_scores = None if line is None else line.step_scores
        problem = _Problem(pool, grade, step_scores, headline, softmin_temperature)
        found = problem.filters()
        for name in found:
            counts[name] += 1
        lines.append(problem.line(found))
        details.append(problem.detail(share))
        rules |= dict.fromkeys(problem.taken)
    index = {
        "scored": scores is not None,
        "headline": headline,
        "rules": list(rules),
        "filters": list(FILTERS),
        "verifiers": sorted({line.verifier for line in scores or [] if line.verifier}),
        "threshold": THRESHOLD,
        "block": BLOCK,
        "share": share,
        "problems": lines,
    }
    blocks = [details[start : start + BLOCK] for start in range(0, len(details), BLOCK)]
    return Viewer(index, blocks, counts)


class _Problem:
    """One problem: its ballots, and what each rule takes."""

    def __init__(
        self,
        pool: ProblemPool,
        graded: GradedProblem,
        step_scores: Sequence[Sequence[float]] | None,
        headline: Aggregation,
        softmin_temperature: float,
    ) -> None:
        self.pool, self.graded, self.step_scores, self.headline = pool, graded, step_scores, headline
        self.softmin_temperature = softmin_temperature
        solutions: dict[str, list[FloatArray]] = {}
        if step_scores is not None:
            solutions = {
                how: [solution_scores(step_scores, how, softmin_temperature)] for how in AGGREGATIONS
            }
        self.ballots: Ballots = ballots_of([pool], [graded], solutions, {})
        self.codes = self.ballots.codes[0]
        self.right = self.ballots.right[0]
        self.taken: dict[str, FloatArray] = {
            rule: chances[0] for rule, chances in taken(self.ballots).items()
        }

    def chance(self, rule: str) -> float | None:
        """The rule's chance of being right; None where there is no gold answer or no such rule."""
        if self.graded.gold is None or rule not in self.taken:
            return None
        # The sum of shares of 1/3 is not quite 1.
        return round(float(self.taken[rule] @ self.right), 9)

    def alarms(self, candidate: int) -> list[str]:
        """What is odd about a candidate: its steps and its answer speak against each other."""
        scores = None if self.step_scores is None else self.step_scores[candidate]
        if not scores or self.graded.gold is None or self.codes[candidate] < 0:
            return []
        accepted = min(scores) >= THRESHOLD
        if self.right[candidate]:
            return [] if accepted else ["alarm_rejected"]
        return ["alarm_accepted"] if accepted else []

    def filters(self) -> set[str]:
        """The filters that the problem is in."""
        majority, verifier = self.chance("majority"), self.chance(self.headline)
        found = {name for each in range(len(self.codes)) for name in self.alarms(each)}
        if (self.codes < 0).all():
            found.add("alarm_silent")
        if found:
            found.add("alarm")
        if self.headline in self.taken and self._answers("majority") != self._answers(self.headline):
            found.add("disagree")
        if len(self._answers("majority")) > 1:
            found.add("tied")
        if majority is None:
            return found | {"ungraded"}
        if verifier is not None and verifier != majority:
            found.add("verifier_right" if verifier > majority else "majority_right")
        if majority < 1:
            found.add("majority_wrong")
        if not self.right.any():
            found.add("none_right")
        return found

    def line(self, found: set[str]) -> list[Any]:
        """The problem in the index: id, question, gold answer, filters as bits, chances of being right."""
        problem = self.pool.problem
        bits = sum(1 << place for place, name in enumerate(FILTERS) if name in found)
        return [
            problem.id,
            problem.question,
            problem.answer,
            bits,
            self.chance("majority"),
            self.chance(self.headline),
        ]

    def detail(self, share: int) -> dict[str, Any]:
        """Everything about the problem that is not in the index; at most ``share`` of its candidates.

        Candidates are numbered by their place in the pool, also in what a candidate's own entry says.
        """
        first: dict[str, int] = {}
        for place, candidate in enumerate(self.pool.candidates):
            first.setdefault(candidate.text, place)
        places = self._shown(share)
        return {
            "size": len(self.codes),
            "answers": list(self._answer_rows()),
            "silent": np.flatnonzero(self.codes < 0).tolist(),
            "candidates": [
                {"place": place, **self._candidate(place, first[self.pool.candidates[place].text])}
                for place in places
            ],
            "best": {
                rule: np.flatnonzero(self.taken[rule] > 0).tolist()
                for rule in self.ballots.rankings()
                if rule in self.taken
            },
        }

    def _shown(self, share: int) -> list[int]:
        """Places of the candidates that the page has: all, or those that a rule takes and the first ones."""
        size = len(self.codes)
        if size <= share:
            return list(range(size))
        best = [int(np.argmax(chances)) for chances in self.taken.values() if chances.any()]
        return sorted(list(dict.fromkeys([*best, *range(size)]))[:share])

    def _answers(self, rule: str) -> set[int]:
        return set(self.codes[self.taken[rule] > 0].tolist())

    def _answer_rows(self) -> Iterator[dict[str, Any]]:
        """Each answer, most votes first: who gave it, the sum of their scores, and which rules take it."""
        codes, places, votes = np.unique(self.codes[self.codes >= 0], return_index=True, return_counts=True)
        given = [answer for answer in self.graded.answers if answer is not None]
        scores = self.ballots.scores.get(self.headline)
        for which in np.lexsort((codes, -votes)):
            mine = self.codes == codes[which]
            chances = {rule: round(float(chance[mine].sum()), 4) for rule, chance in self.taken.items()}
            yield {
                "code": int(codes[which]),
                "text": show_answer(given[places[which]]),
                "right": None if self.graded.gold is None else bool(self.right[mine].any()),
                "by": np.flatnonzero(mine).tolist(),
                "sum": None if scores is None else round(float(scores[0][mine].sum()), 4),
                "rules": {rule: chance for rule, chance in chances.items() if chance > 0},
            }

    def _candidate(self, place: int, first: int) -> dict[str, Any]:
        """One candidate, whose text is that of the candidate ``first``; what is not known is left out."""
        candidate = self.pool.candidates[place]
        texts = step_text.split(candidate.text).steps
        found: dict[str, Any] = {"steps": list(texts), "answer": int(self.codes[place])}
        if not texts and candidate.text.strip():
            found["text"] = candidate.text
        scores = () if self.step_scores is None else self.step_scores[place]
        if scores:
            found["scores"] = [round(each, 4) for each in scores]
            found["weakest"] = int(np.argmin(scores))
            found["score"] = round(aggregate(list(scores), self.headline, self.softmin_temperature), 4)
        alarms = self.alarms(place)
        more = {
            "same": first if first < place else None,
            "by": candidate.generator,
            "finish": candidate.finish_reason,
            "tokens": candidate.tokens,
            "logprob": None if candidate.logprob is None else round(candidate.logprob, 4),
            "alarms": alarms or None,
        }
        return found | {key: value for key, value in more.items() if value not in (None, "")}


def show_answer(answer: Answer) -> str:
    """An answer as text: whole numbers and finite decimals as such, other fractions as a quotient.

    Example:
        >>> from fractions import Fraction
        >>> show_answer(Fraction(72)), show_answer(Fraction(-5, 4)), show_answer(Fraction(1, 3))
        ('72', '-1.25', '1/3')
    """
    if isinstance(answer, str):
        return answer
    rest = answer.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1 or answer.denominator > 10**9:
        return f"{answer.numerator}/{answer.denominator}"
    if answer.denominator == 1:
        return str(answer.numerator)
    places = next(places for places in range(1, 31) if 10**places % answer.denominator == 0)
    digits = str(abs(answer.numerator) * (10**places // answer.denominator)).rjust(places + 1, "0")
    return f"{'-' if answer < 0 else ''}{digits[:-places]}.{digits[-places:]}"
