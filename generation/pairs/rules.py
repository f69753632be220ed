"""Two candidates held against each other: which is accepted, and why they may not be a pair.

A candidate without an answer ranks below all that have one, whatever its score, and is never accepted. Equal
scores are broken by the candidates' order, and make no pair: nothing tells such candidates apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from generation.pairs.config import PairsConfig
from generation.pairs.sides import Member

Reason = Literal[
    "one_candidate", "empty", "duplicate", "identical", "no_next_step", "no_answer", "margin", "bad_prefix",
    "same_verdict", "no_gold", "outcome", "length", "taken", "cap",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
"""In the order in which they are looked for; the first that holds is the one that is told."""

MEANINGS: dict[Reason, str] = {
    "one_candidate": "the problem has a single candidate",
    "empty": "one of the two has no step in it: blanks and step tags alone",
    "duplicate": "one has the text of an earlier candidate, or these steps are a pair already",
    "identical": "both say the same",
    "no_next_step": "one ends where they would differ",
    "no_answer": "the accepted one would end without an answer",
    "margin": "the scores are too close",
    "bad_prefix": "a step that both share scores under good_step",
    "same_verdict": "the two steps lie on one side of good_step",
    "no_gold": "the problem has no gold answer to hold them against",
    "outcome": "the gold answer says otherwise",
    "length": "one is too much longer than the other",
    "taken": "one of the two is in a better pair already",
    "cap": "the problem has max_per_problem pairs already",
}

NOISE = 1e-9
"""Differences of scores below this are rounding: 0.7 - 0.4 is a margin of 0.3."""


@dataclass(frozen=True, slots=True)
class Text:
    """What one of two candidates says where they are compared.

    Attributes:
        text: the solution, or the step with its separators, as they stand in the candidate.
        score: of that.
        ends: whether the generator ended behind it.
        is_last: whether nothing of the candidate follows.
        size: its length, in what both sides are measured in.
    """

    text: str
    score: float
    ends: bool
    is_last: bool
    size: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Two candidates, the better one first.

    Attributes:
        better: would be accepted.
        worse: would be rejected.
        chosen: what the better one says.
        rejected: what the other says.
        prefix: what both say before it; "" where solutions are compared whole.
        step: which step is compared, from 0; None where solutions are compared whole.
        fault: why there is no step to compare; the texts and scores are then those of the whole solutions.
    """

    better: Member
    worse: Member
    chosen: Text
    rejected: Text
    prefix: str = ""
    step: int | None = None
    fault: Reason | None = None

    @property
    def margin(self) -> float:
        """How much better, in scores; below 0 where a candidate without an answer scores higher."""
        return self.chosen.score - self.rejected.score

    @property
    def content(self) -> tuple[str, str, str]:
        """What would be learnt, but for the blanks around it."""
        return self.prefix, self.chosen.text.strip(), self.rejected.text.strip()


def compare_solutions(found: Iterable[Member]) -> list[Compared]:
    """Every two candidates of a problem, as whole solutions, in the order of their indices."""
    return [compare_whole(*two) for two in combinations(found, 2)]


def compare_whole(one: Member, other: Member) -> Compared:
    """Two candidates as whole solutions, the better one first."""
    better, worse = sorted((one, other), key=rank)
    chosen, rejected = (
        Text(each.text, each.score, each.ends, True, size)
        for each, size in zip((better, worse), _sizes(better, worse), strict=True)
    )
    return Compared(better, worse, chosen, rejected)


def rank(member: Member) -> tuple[bool, float, int]:
    """Sorts candidates, the best first: those with an answer, then by score, then by index."""
    return not member.answered, -member.score, member.index


def first_of_their_text(found: Iterable[Member]) -> set[int]:
    """Indices of the candidates whose text, but for the blanks around it, no earlier candidate has."""
    first: dict[str, int] = {}
    for member in found:
        first.setdefault(member.text.strip(), member.index)
    return set(first.values())


def refusals(config: PairsConfig, *, first: set[int], has_gold: bool) -> Callable[[Compared], Reason | None]:
    """The rule that says why two candidates may not be a pair; None where they may.

    Args:
        config: what is asked of a pair.
        first: as of `first_of_their_text`.
        has_gold: whether the problem has a gold answer.
    """

    def refusal(two: Compared) -> Reason | None:
        if not two.better.step_scores or not two.worse.step_scores:
            return "empty"
        if config.dedup and not {two.better.index, two.worse.index} <= first:
            return "duplicate"
        if two.fault is not None:
            return two.fault
        if two.chosen.text.strip() == two.rejected.text.strip():
            return "identical"
        if two.chosen.is_last and not two.better.answered:
            return "no_answer"
        if two.margin < max(config.margin - NOISE, NOISE):
            return "margin"
        return _verdict(two, config) or _outcome(two, config, has_gold) or _length(two, config)

    return refusal


def _sizes(*two: Member) -> list[int]:
    """Lengths in tokens where one generator counted both, else in characters."""
    counted = [each.tokens for each in two if each.tokens]
    if len(counted) == len(two) and len({each.generator for each in two}) == 1:
        return counted
    return [len(each.text.strip()) for each in two]


def _verdict(two: Compared, config: PairsConfig) -> Reason | None:
    """Of steps: is it a good and a bad one, after good ones?"""
    if two.step is None or config.good_step is None:
        return None
    if any(score < config.good_step for score in two.better.step_scores[: two.step]):
        return "bad_prefix"
    is_split = two.chosen.score >= config.good_step > two.rejected.score
    return None if is_split else "same_verdict"


def _outcome(two: Compared, config: PairsConfig, has_gold: bool) -> Reason | None:
    """Does the gold answer agree, where it is asked?"""
    if config.outcome == "verifier":
        return None
    if not has_gold:
        return "no_gold"
    if not two.better.right or (config.outcome == "gold_both" and two.worse.right):
        return "outcome"
    return None


def _length(two: Compared, config: PairsConfig) -> Reason | None:
    """Is one too much longer than the other?"""
    if config.max_length_ratio is None:
        return None
    short, long = sorted((two.chosen.size, two.rejected.size))
    return "length" if long > config.max_length_ratio * short else None
