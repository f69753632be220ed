"""The report of a reranking: every rule at every n, with intervals and verdicts, from pools and step scores.

`evaluate` is pure: records in, `RerankReport` out. Each problem's whole pool of N candidates is used at
every n, as an exact expectation over its subsets; nothing is drawn but the subsets of weighted votes below
N, the resampled problems of the intervals and the sign flips of the tests, all by seed. The JSON is described
in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.blocks import SolutionScores, StepScores, blocks_of, check_lengths, check_sizes, joined
from eval.curves import IntArray
from eval.estimates import Estimate, estimate_curves
from eval.grading import grade_pools
from eval.policies import count_policies
from eval.rules import RULES, Ballots, curves_of
from eval.scores import (
    AGGREGATIONS,
    SOFTMIN_TEMPERATURE,
    Aggregation,
    Calibration,
    FloatArray,
    solution_scores,
)
from eval.significance import Difference, Judged, PerProblem, judge, paired_difference
from eval.within_question import mean_auc, within_question_auc
from shepherd.answers import GRADER_TIMEOUT_S, AnswerStyle, Grader
from shepherd.errors import ShepherdError
from shepherd.records import ProblemPool

__all__ = ["Estimate", "ReportRow", "RerankReport", "StepScores", "evaluate"]


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
        headline: the rule that the verifier was made for.
        problems: how many were evaluated: those with a gold answer.
        pass_at_1: the chance that one candidate is right.
        pass_at_n: the chance that one of n is: what a perfect rule would reach.
        rules: accuracy at n by rule.
        paired: rule minus majority at n by rule, on the same problems.
        judged: the same, tested: by rule, with Holm's correction over all of them, and a verdict.
        curves: by rule, and ``pass_at_n``: the n and the accuracy there.
        added: the same minus majority, by rule but majority, in the order of the curve's points.
        minus_headline: each control verifier minus the headline rule at n, on the same candidates; empty
            without step scores or without controls.
        policies: what had to be decided, as counts.
        auc_within_question: by ranking score, the fraction of (right, wrong) pairs of candidates of one
            problem, both with an answer, in the right order; averaged over the problems that have both.
        settings: what the figures depend on besides the records, by name.
        ids: the evaluated problems.
        per_problem: expected accuracy at n of each evaluated problem by rule; not in the JSON.
        subsets: how many drawn subsets each of them is the mean of (0: it is exact), by rule of which some
            are drawn; not in the JSON.
    """

    n: int
    headline: Aggregation
    problems: int
    pass_at_1: float
    pass_at_n: float
    rules: Mapping[str, Estimate]
    paired: Mapping[str, Estimate]
    judged: Mapping[str, Judged]
    curves: Mapping[str, Sequence[tuple[int, Estimate]]]
    added: Mapping[str, Sequence[Difference]]
    minus_headline: Mapping[str, Judged]
    policies: Mapping[str, Any]
    auc_within_question: Mapping[str, float | None]
    settings: Mapping[str, Any]
    ids: Sequence[str] = field(repr=False)
    per_problem: Mapping[str, FloatArray] = field(repr=False, compare=False)
    subsets: Mapping[str, IntArray] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The report as ``results.json`` has it."""
        return {
            "n": self.n,
            "headline": self.headline,
            "problems": self.problems,
            "pass_at_1": self.pass_at_1,
            "pass_at_n": self.pass_at_n,
            "rules": {
                rule: {**each.to_json("accuracy"), "minus_majority": _json(self.judged.get(rule))}
                for rule, each in self.rules.items()
            },
            "paired": {
                f"{rule}_minus_majority": each.to_json("difference") for rule, each in self.paired.items()
            },
            "curves": {rule: self._points(rule) for rule in self.curves},
            "minus_headline": {name: each.to_json() for name, each in self.minus_headline.items()},
            "policies": dict(self.policies),
            "auc_within_question": dict(self.auc_within_question),
            "settings": dict(self.settings),
        }

    def _points(self, rule: str) -> list[dict[str, Any]]:
        """The curve of a rule as the JSON has it."""
        curve = self.curves[rule]
        added = self.added.get(rule, [None] * len(curve))
        return [
            {"n": n, **each.to_json("accuracy"), "minus_majority": _json(more)}
            for (n, each), more in zip(curve, added, strict=True)
        ]

    def rows(self) -> list[ReportRow]:
        """The lines of the table, in the order of the rules."""
        return [ReportRow(rule, each, self.paired.get(rule)) for rule, each in self.rules.items()]

    def of_problem(self, rule: str) -> PerProblem:
        """One rule's accuracy at n on each problem, to be compared with that of another report."""
        return PerProblem(self.ids, self.per_problem[rule], self.subsets.get(rule))

    def gain_of_problem(self, rule: str) -> PerProblem:
        """What one rule adds to majority vote on each problem, to be compared with that of another report.

        The difference of two gains says whether a verifier helps one generator more than another. That some
        of the accuracies are drawn is not carried on: where n is below the pool's size, every problem on
        which a weighted vote's gains are apart counts as differing.
        """
        return PerProblem(self.ids, self.per_problem[rule] - self.per_problem["majority"])


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
    extra_rules: Mapping[str, Aggregation] | None = None,
    headline: Aggregation = "min",
    calibration: Calibration | None = None,
    softmin_temperature: float = SOFTMIN_TEMPERATURE,
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
        extra: step scores of control verifiers by the name of their rule, which is best-of-n by one score.
        extra_rules: that score of each; min where it is not named (an outcome head's is last).
        headline: the score that the verifier was made for.
        calibration: of the step scores; adds the rules in which it can matter, beside the plain ones (the
            controls have none).
        softmin_temperature: T of soft-min.
        seed: of the resampled problems, of the drawn subsets and of the sign flips.
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
            check_lengths(name, pools, given)
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
    check_sizes([pools[index] for index in kept], points)

    how = {name: (extra_rules or {}).get(name, "min") for name in extra}
    controls = {
        name: [solution_scores(each, how[name], softmin_temperature) for each in given]
        for name, given in extra.items()
    }
    plain = _by_each(scores, softmin_temperature, None)
    calibrated = {} if calibration is None else _by_each(scores, softmin_temperature, calibration)
    blocks = blocks_of(pools, graded, kept, plain, controls, calibrated)
    order = np.argsort(np.concatenate([rows for rows, _ in blocks]))
    parts = [curves_of(ballots, points, subsets=subsets, seed=seed) for _, ballots in blocks]
    # A rule is reported where every problem has it: log-likelihoods may be known for some pools only.
    curves = {
        name: joined([part[name] for part in parts], order)
        for name in parts[0]
        if all(name in part for part in parts)
    }
    measured = estimate_curves(curves, points, resamples=bootstrap, seed=seed)
    at_n = points.index(n)
    rules = {rule: found[at_n] for rule, found in measured.items() if rule != "pass_at_n"}
    drawn = {rule: curve.subsets for rule, curve in curves.items()}
    per_problem = {rule: curves[rule].accuracy[:, at_n] for rule in rules}
    against = {
        name: paired_difference(per_problem[name], per_problem[headline], resamples=bootstrap, seed=seed)
        for name in (extra if scores is not None else ())
    }
    return RerankReport(
        n=n,
        headline=headline,
        problems=len(kept),
        pass_at_1=float(np.mean([np.mean(graded[index].right) for index in kept])),
        pass_at_n=measured["pass_at_n"][at_n].accuracy.value,
        rules={rule: each.accuracy for rule, each in rules.items()},
        paired={rule: more for rule, at in rules.items() if (more := at.paired()) is not None},
        judged=judge({rule: each for rule, at in rules.items() if (each := at.minus_majority) is not None}),
        curves={rule: [(each.n, each.accuracy) for each in found] for rule, found in measured.items()},
        added={
            rule: [each.minus_majority for each in found if each.minus_majority is not None]
            for rule, found in measured.items()
            if rule != "majority"
        },
        minus_headline=judge(against, headline),
        policies=count_policies(pools, graded, scores, [ballots for _, ballots in blocks], list(curves)),
        auc_within_question=_within_question([ballots for _, ballots in blocks], list(curves)),
        settings={
            "seed": seed,
            "bootstrap": bootstrap,
            "subsets": subsets,
            "softmin_temperature": softmin_temperature,
            "calibrated": calibration is not None,
        },
        ids=[graded[index].id for index in kept],
        per_problem=per_problem,
        subsets={rule: each[:, at_n] for rule, each in drawn.items() if each is not None},
    )


def _by_each(scores: StepScores | None, temperature: float, by: Calibration | None) -> SolutionScores:
    """Solution scores by every reduction; none without step scores."""
    if scores is None:
        return {}
    return {how: [solution_scores(each, how, temperature, by) for each in scores] for how in AGGREGATIONS}


def _json(found: Difference | Judged | None) -> dict[str, Any] | None:
    return None if found is None else found.to_json()


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


def _doublings(limit: int) -> list[int]:
    return [1 << power for power in range(limit.bit_length())]
