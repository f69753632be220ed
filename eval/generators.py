"""How good a generator is: greedy and sampled pass@1, maj@n and best-of-n by a verifier, by problem.

Pure: pools and step scores in, `Measured` out. Two generators that answered the same problems are compared
problem by problem (`differences`), which is what tells a small gain from the luck of the problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.blocks import StepScores, blocks_of, check_lengths
from eval.grading import GradedProblem, grade_pools
from eval.intervals import bootstrap_intervals
from eval.rules import curves_of
from eval.scores import Aggregation, FloatArray, solution_scores
from eval.significance import Difference, PerProblem, compare_paired
from eval.within_question import mean_auc, within_question_auc
from shepherd.answers import GRADER_TIMEOUT_S, AnswerStyle, Grader
from shepherd.errors import ShepherdError
from shepherd.records import ProblemPool

METRICS = ("greedy", "sampled", "majority", "best_of_n")
"""Accuracies that have one number a problem; the last needs a verifier."""

_BESIDE = (
    "answered", "tokens", "cut", "score", "score_of_right", "score_of_wrong", "gap", "within_question",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What one generator does on a set of problems.

    Attributes:
        n: sampled candidates a problem.
        ids: the problems that have a gold answer.
        accuracy: by metric, the expected accuracy of each problem; shape ``(problems,)`` each, in [0, 1].
            ``greedy`` is pass@1 of the most likely tokens, ``sampled`` the mean over the n candidates.
        answered: share of sampled candidates that state an answer.
        tokens: mean length of a sampled candidate, in the generator's tokens; None where it is not known.
        cut: share of sampled candidates that reached the token limit.
        score: mean solution score of the sampled candidates; None without a verifier.
        score_of_right: the same over the right ones; None where there are none.
        score_of_wrong: the same over the wrong ones.
        within_question: fraction of (right, wrong) pairs of one problem that the verifier orders rightly.
    """

    n: int
    ids: Sequence[str]
    accuracy: Mapping[str, FloatArray] = field(repr=False)
    answered: float
    tokens: float | None
    cut: float
    score: float | None = None
    score_of_right: float | None = None
    score_of_wrong: float | None = None
    within_question: float | None = None

    @property
    def gap(self) -> float | None:
        """Mean solution score minus sampled pass@1: where it opens, the verifier is being fooled."""
        return None if self.score is None else self.score - float(self.accuracy["sampled"].mean())

    def mean(self, metric: str) -> float:
        """Mean accuracy over the problems."""
        return float(self.accuracy[metric].mean())

    def to_json(self, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
        """Accuracies with 95% bootstrap intervals over problems, and the rest as it is."""
        names = [name for name in METRICS if name in self.accuracy]
        values = np.stack([self.accuracy[name] for name in names], axis=1)
        intervals = bootstrap_intervals(values, resamples, seed)
        found: dict[str, Any] = {"problems": len(self.ids), "n": self.n}
        for name, (low, high) in zip(names, intervals, strict=True):
            found[name] = {"accuracy": self.mean(name), "ci95": [float(low), float(high)]}
        return found | {name: getattr(self, name) for name in _BESIDE}


def measure(
    greedy: Sequence[ProblemPool],
    sampled: Sequence[ProblemPool],
    scores: StepScores | None,
    *,
    answer_style: AnswerStyle,
    grader: Grader = "auto",
    grader_timeout_s: float = GRADER_TIMEOUT_S,
    rule: Aggregation = "min",
) -> Measured:
    """Measure a generator by what it answered.

    Args:
        greedy: one candidate a problem, of the most likely tokens.
        sampled: n candidates of each of the same problems, in the same order.
        scores: step scores of the sampled ones; None without a verifier.
        answer_style: how candidates state their answers.
        grader: how answers are compared.
        grader_timeout_s: seconds that math-verify is given for one pair of answers.
        rule: the solution score that ranks candidates.

    Raises:
        ShepherdError: if no problem has a gold answer that can be read.
        ValueError: if the two are not of the same problems.
    """
    if [each.problem.id for each in greedy] != [each.problem.id for each in sampled]:
        raise ValueError("greedy and sampled candidates must be of the same problems, in the same order")
    if scores is not None:
        check_lengths("scores", sampled, scores)
    once = grade_pools(greedy, answer_style, grader, timeout_s=grader_timeout_s)
    graded = grade_pools(sampled, answer_style, grader, timeout_s=grader_timeout_s)
    kept = [index for index, each in enumerate(graded) if each.gold is not None]
    if not kept:
        raise ShepherdError(
            f'problems: none of {len(graded)} has a gold answer that can be read; an accuracy needs "answer"'
        )
    accuracy = {
        "greedy": np.array([float(once[index].right[0]) for index in kept]),
        "sampled": np.array([float(np.mean(graded[index].right)) for index in kept]),
    }
    ranked = None if scores is None else [solution_scores(each, rule) for each in scores]
    plain: dict[str, list[FloatArray]] = {} if ranked is None else {rule: ranked}
    ((_, ballots),) = blocks_of(sampled, graded, kept, plain, {}, {})
    curves = curves_of(ballots, [ballots.size])
    accuracy["majority"] = curves["majority"].accuracy[:, 0]
    if ranked is not None:
        accuracy["best_of_n"] = curves[rule].accuracy[:, 0]
    candidates = [each for index in kept for each in sampled[index].candidates]
    tokens = [each.tokens for each in candidates if each.tokens is not None]
    return Measured(
        n=ballots.size,
        ids=[graded[index].id for index in kept],
        accuracy=accuracy,
        answered=float((ballots.codes >= 0).mean()),
        tokens=float(np.mean(tokens)) if len(tokens) == len(candidates) else None,
        cut=float(np.mean([each.finish_reason == "length" for each in candidates])),
        **({} if ranked is None else _agreement([graded[i] for i in kept], [ranked[i] for i in kept])),
    )


def differences(
    mine: Measured, first: Measured, *, resamples: int = 10_000, seed: int = 0
) -> dict[str, Difference]:
    """One generator minus another on the same problems, by metric, with paired intervals and p-values.

    Example:
        >>> ids = [f"p{index}" for index in range(8)]
        >>> made = [
        ...     Measured(4, ids, {name: np.full(8, value) for name in METRICS}, 1.0, 9.0, 0.0)
        ...     for value in (0.75, 0.5)
        ... ]
        >>> found = differences(*made)["greedy"]
        >>> found.value, found.ci95
        (0.25, (0.25, 0.25))
    """
    return {
        name: compare_paired(
            PerProblem(mine.ids, mine.accuracy[name]),
            PerProblem(first.ids, first.accuracy[name]),
            resamples=resamples,
            seed=seed,
        )
        for name in METRICS
        if name in mine.accuracy and name in first.accuracy
    }


def _agreement(graded: Sequence[GradedProblem], scores: Sequence[FloatArray]) -> dict[str, float | None]:
    """How far the verifier's scores go with what is right."""
    flat = np.concatenate(scores)
    right = np.concatenate([np.array(each.right, dtype=bool) for each in graded])
    question = np.repeat(np.arange(len(graded)), [len(each) for each in scores])
    return {
        "score": float(flat.mean()),
        "score_of_right": float(flat[right].mean()) if right.any() else None,
        "score_of_wrong": float(flat[~right].mean()) if not right.all() else None,
        "within_question": mean_auc(within_question_auc(flat, right, question)),
    }
