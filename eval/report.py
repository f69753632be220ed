"""The report of a reranking: every rule at every n, with intervals, from pools and step scores.

`evaluate` is pure: records in, `RerankReport` out. Each problem's whole pool of N candidates is used at
every n, as an exact expectation over its subsets; nothing is drawn but the subsets of weighted votes below
N and the resampled problems of the intervals, both by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.grading import GradedProblem, ballots_of, grade_pools
from eval.intervals import percentile_intervals
from eval.policies import count_policies
from eval.rules import RULES, Ballots, Curve, curves_of
from eval.scores import AGGREGATIONS, FloatArray, solution_scores
from eval.within_question import mean_auc, within_question_auc
from shepherd.answers import GRADER_TIMEOUT_S, AnswerStyle, Grader
from shepherd.errors import ShepherdError
from shepherd.records import ProblemPool

StepScores = Sequence[Sequence[Sequence[float]]]
"""Problems, candidates, steps: P(step is correct)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems.

    Attributes:
        value: an accuracy, or a difference of two.
        ci95: its 95% bootstrap interval over problems.
        se: where the value was estimated from drawn subsets, the standard error of that; None where exact.
    """

    value: float
    ci95: tuple[float, float]
    se: float | None = None

    def to_json(self, name: str) -> dict[str, Any]:
        """The estimate under ``name`` ("accuracy" or "difference")."""
        found: dict[str, Any] = {name: self.value, "ci95": list(self.ci95)}
        return found if self.se is None else {**found, "se": self.se}


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One line of the table: a rule's accuracy at n, and what it adds to majority (None for majority)."""

    rule: str
    accuracy: Estimate
    minus_majority: Estimate | None


@dataclass(frozen=True, slots=True)
class RerankReport:
    """What reranking gives at n, and at every n below the pool's size.

    Attributes:
        n: candidates a problem, of the headline figures.
        problems: how many were evaluated: those with a gold answer.
        pass_at_1: the chance that one candidate is right.
        pass_at_n: the chance that one of n is: what a perfect rule would reach.
        rules: accuracy at n by rule.
        paired: rule minus majority at n by rule, on the same problems.
        curves: by rule, and ``pass_at_n``: the n and the accuracy there.
        policies: what had to be decided, as counts.
        auc_within_question: by ranking score, the fraction of (right, wrong) pairs of candidates of one
            problem, both with an answer, in the right order; averaged over the problems that have both.
        ids: the evaluated problems.
        per_problem: expected accuracy at n of each evaluated problem by rule; not in the JSON.
    """

    n: int
    problems: int
    pass_at_1: float
    pass_at_n: float
    rules: Mapping[str, Estimate]
    paired: Mapping[str, Estimate]
    curves: Mapping[str, Sequence[tuple[int, Estimate]]]
    policies: Mapping[str, Any]
    auc_within_question: Mapping[str, float | None]
    ids: Sequence[str] = field(repr=False)
    per_problem: Mapping[str, FloatArray] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The report as ``results.json`` has it."""
        return {
            "n": self.n,
            "problems": self.problems,
            "pass_at_1": self.pass_at_1,
            "pass_at_n": self.pass_at_n,
            "rules": {rule: each.to_json("accuracy") for rule, each in self.rules.items()},
            "paired": {
                f"{rule}_minus_majority": each.to_json("difference") for rule, each in self.paired.items()
            },
            "curves": {
                rule: [{"n": n, **each.to_json("accuracy")} for n, each in points]
                for rule, points in self.curves.items()
            },
            "policies": dict(self.policies),
            "auc_within_question": dict(self.auc_within_question),
        }

    def rows(self) -> list[ReportRow]:
        """The lines of the table, in the order of the rules."""
        return [ReportRow(rule, each, self.paired.get(rule)) for rule, each in self.rules.items()]


def evaluate(
    pools: Sequence[ProblemPool],
    scores: StepScores | None,
    *,
    answer_style: AnswerStyle,
    grader: Grader = "auto",
    grader_timeout_s: float = GRADER_TIMEOUT_S,
    n: int | None = None,
    ns: Sequence[int] | None = None,
    extra: Mapping[str, StepScores] | None = None,
    seed: int = 0,
    bootstrap: int = 10_000,
    subsets: int = 200,
) -> RerankReport:
    """Measure every selection rule on pools of candidates.

    Args:
        pools: problems with their candidates; pools may differ in size. A problem without a readable gold
            answer is left out of every figure and counted.
        scores: step scores in the pools' order; None for majority, pass@n and the baselines alone.
        answer_style: how the candidates state their answers.
        grader: how answers are compared; see `eval.grading`.
        grader_timeout_s: seconds that math-verify is given for one pair of answers.
        n: candidates a problem of the headline figures; the smallest pool's size if None.
        ns: points of the curves; 1, 2, 4, … if None. n and the smallest pool's size are always among them.
        extra: step scores of control verifiers by the name of their rule, which is best-of-n by min.
        seed: of the resampled problems and of the drawn subsets.
        bootstrap: resamples for the intervals.
        subsets: subsets a problem for weighted votes below the pool's size.

    Returns:
        The report.

    Raises:
        ShepherdError: if there is nothing to measure, a pool is smaller than an n, or a control has the name
            of a rule.
    """
    if not pools:
        raise ShepherdError("pool: no problems; nothing to evaluate")
    extra = extra or {}
    for name, given in {"scores": scores, **extra}.items():
        if given is not None:
            _check_lengths(name, pools, given)
    for name in extra:
        if name in RULES or name == "pass_at_n":
            raise ShepherdError(
                f'control "{name}": a rule of that name exists; give the control another name'
            )
    graded = grade_pools(pools, answer_style, grader, timeout_s=grader_timeout_s)
    kept = [index for index, each in enumerate(graded) if each.gold is not None]
    if not kept:
        raise ShepherdError(
            f"pool: none of {len(pools)} problems has a gold answer that can be read; "
            'an accuracy needs "answer" on the pool lines'
        )
    smallest = min(len(pools[index].candidates) for index in kept)
    n = smallest if n is None else n
    points = sorted({*(ns if ns is not None else _doublings(smallest)), n, smallest})
    _check_sizes([pools[index] for index in kept], points)

    blocks = _blocks(pools, graded, kept, scores, extra)
    order = np.argsort(np.concatenate([rows for rows, _ in blocks]))
    parts = [curves_of(ballots, points, subsets=subsets, seed=seed) for _, ballots in blocks]
    # A rule is reported where every problem has it: log-likelihoods may be known for some pools only.
    curves = {
        name: _joined([part[name] for part in parts], order)
        for name in parts[0]
        if all(name in part for part in parts)
    }
    return _report(
        curves,
        n,
        points,
        ids=[graded[index].id for index in kept],
        pass_at_1=float(np.mean([np.mean(graded[index].right) for index in kept])),
        policies=count_policies(pools, graded, scores, [ballots for _, ballots in blocks], list(curves)),
        auc_within_question=_within_question([ballots for _, ballots in blocks], list(curves)),
        bootstrap=bootstrap,
        seed=seed,
    )


def _report(
    curves: Mapping[str, Curve],
    n: int,
    points: Sequence[int],
    *,
    ids: Sequence[str],
    pass_at_1: float,
    policies: Mapping[str, Any],
    auc_within_question: Mapping[str, float | None],
    bootstrap: int,
    seed: int,
) -> RerankReport:
    """Means and intervals of every curve and of every rule minus majority, by the same resampled problems."""
    at_n = list(points).index(n)
    rules = [name for name in curves if name != "pass_at_n"]
    per_problem = {rule: curves[rule].accuracy[:, at_n] for rule in rules}
    pairs = [rule for rule in rules if rule != "majority"]
    differences = [per_problem[rule] - per_problem["majority"] for rule in pairs]
    values = np.column_stack([*(curve.accuracy for curve in curves.values()), *differences])
    bounds = percentile_intervals(values, bootstrap, seed)
    means = values.mean(axis=0)

    def estimate(column: int, variance: FloatArray | None) -> Estimate:
        drawn = variance is not None and bool(np.any(variance > 0))
        error = float(np.sqrt(np.sum(variance)) / len(values)) if drawn and variance is not None else None
        return Estimate(float(means[column]), (float(bounds[column, 0]), float(bounds[column, 1])), error)

    measured: dict[str, list[tuple[int, Estimate]]] = {}
    for index, (name, curve) in enumerate(curves.items()):
        measured[name] = [
            (
                point,
                estimate(index * len(points) + at, None if curve.variance is None else curve.variance[:, at]),
            )
            for at, point in enumerate(points)
        ]
    first = len(curves) * len(points)
    variances = {rule: curves[rule].variance for rule in pairs}
    paired = {
        rule: estimate(first + index, None if (each := variances[rule]) is None else each[:, at_n])
        for index, rule in enumerate(pairs)
    }
    return RerankReport(
        n=n,
        problems=len(ids),
        pass_at_1=pass_at_1,
        pass_at_n=measured["pass_at_n"][at_n][1].value,
        rules={rule: measured[rule][at_n][1] for rule in rules},
        paired=paired,
        curves=measured,
        policies=policies,
        auc_within_question=auc_within_question,
        ids=ids,
        per_problem=per_problem,
    )


def _blocks(
    pools: Sequence[ProblemPool],
    graded: Sequence[GradedProblem],
    kept: Sequence[int],
    scores: StepScores | None,
    extra: Mapping[str, StepScores],
) -> list[tuple[list[int], Ballots]]:
    """The kept problems by the size of their pools: their places, and their ballots."""
    controls = {name: [solution_scores(each, "min") for each in given] for name, given in extra.items()}
    solutions = {how: [solution_scores(each, how) for each in scores] for how in AGGREGATIONS if scores}
    blocks = []
    for size in sorted({len(pools[index].candidates) for index in kept}):
        rows = [index for index in kept if len(pools[index].candidates) == size]
        ballots = ballots_of(
            [pools[row] for row in rows],
            [graded[row] for row in rows],
            {name: [values[row] for row in rows] for name, values in solutions.items()},
            {name: [values[row] for row in rows] for name, values in controls.items()},
        )
        blocks.append((rows, ballots))
    return blocks


def _within_question(blocks: Sequence[Ballots], rules: Sequence[str]) -> dict[str, float | None]:
    """Within-question AUC of every score that candidates are ranked by, among candidates with an answer."""
    found: dict[str, list[FloatArray]] = {}
    for ballots in blocks:
        answered = ballots.codes >= 0
        question = np.nonzero(answered)[0]
        for name, by in ballots.rankings().items():
            values = within_question_auc(by[answered], ballots.right[answered], question)
            found.setdefault(name, []).append(values)
    return {rule: mean_auc(np.concatenate(found[rule])) for rule in rules if rule in found}


def _joined(parts: Sequence[Curve], order: np.ndarray[Any, np.dtype[np.intp]]) -> Curve:
    """The curves of pools of different sizes, put back in the problems' order."""
    variances = [part.variance for part in parts if part.variance is not None]
    return Curve(
        np.concatenate([part.accuracy for part in parts])[order],
        np.concatenate(variances)[order] if variances else None,
    )


def _doublings(limit: int) -> list[int]:
    return [1 << power for power in range(limit.bit_length())]


def _check_lengths(name: str, pools: Sequence[ProblemPool], scores: StepScores) -> None:
    if len(scores) != len(pools):
        raise ValueError(f"{name}: expected {len(pools)} problems, received {len(scores)}")
    for pool, mine in zip(pools, scores, strict=True):
        if len(mine) != len(pool.candidates):
            expected = len(pool.candidates)
            raise ValueError(
                f"{name}: {pool.problem.id}: expected {expected} candidates, received {len(mine)}"
            )


def _check_sizes(pools: Sequence[ProblemPool], points: Sequence[int]) -> None:
    if points[0] < 1:
        raise ShepherdError(f"n = {points[0]}: a subset has at least one candidate; give n of 1 or more")
    for pool in pools:
        if len(pool.candidates) < points[-1]:
            raise ShepherdError(
                f'problem "{pool.problem.id}" has {len(pool.candidates)} candidates, n is {points[-1]}; '
                "give an n no larger than the pool, or more candidates"
            )
