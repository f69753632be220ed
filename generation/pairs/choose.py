"""From the scored candidates of a problem to accept/reject pairs: pure functions, and nothing is drawn.

Every two candidates of a problem are considered once. They become a pair, or are dropped for a reason, the
first of `generation.pairs.rules.REASONS` that holds. The order of the candidates decides ties alone: of two
equal scores that of the lower index is better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval.grading import GradedProblem
from generation.config import PromptConfig
from generation.engines.protocol import Prompt
from generation.pairs.config import PairsConfig
from generation.pairs.pair import Pair, PromptText, Side
from generation.pairs.rules import (
    MEANINGS,
    Compared,
    Reason,
    compare_solutions,
    first_of_their_text,
    rank,
    refusals,
)
from generation.pairs.sides import Member, as_prompt, members
from generation.pairs.steps import compare_steps
from generation.prompts import make_prompt
from shepherd.errors import ShepherdError
from shepherd.records import ProblemPool, ScoreLine


@dataclass(frozen=True, slots=True)
class Dropped:
    """Two candidates that are no pair.

    Attributes:
        better: id of the one that would have been accepted.
        worse: of the other; "" where there is none.
        better_score: of what was compared.
        worse_score: the same of the other; None where there is none.
        why: the reason.
    """

    better: str
    worse: str
    better_score: float
    worse_score: float | None
    why: Reason

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, with the keys of a pair."""
        return {
            "chosen_candidate": self.better,
            "rejected_candidate": self.worse,
            "chosen_score": self.better_score,
            "rejected_score": self.worse_score,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """What was made of a problem.

    Attributes:
        pairs: chosen, the best first.
        indices: of the two candidates of each pair, the accepted one first.
        dropped: every other two, in the order in which they were looked at: the best first.
    """

    pairs: list[Pair]
    indices: list[tuple[int, int]]
    dropped: list[Dropped]

    @property
    def why_none(self) -> Reason | None:
        """Where there is no pair: why the first two that differ are none."""
        if self.pairs:
            return None
        reasons = (each.why for each in self.dropped)
        return next((why for why in reasons if why != "duplicate"), "duplicate")


@dataclass(slots=True)
class Paired:
    """What was made of many problems.

    Attributes:
        pairs: of all problems, in their order.
        dropped: how many twos were no pair, by reason.
        without: problems without a pair, by the reason of the first two that differ.
        problems: how many there were.
    """

    pairs: list[Pair] = field(default_factory=list)
    dropped: Counter[Reason] = field(default_factory=Counter)
    without: Counter[Reason] = field(default_factory=Counter)
    problems: int = 0

    def add(self, choice: Choice) -> None:
        """Count one problem more."""
        self.problems += 1
        self.pairs += choice.pairs
        self.dropped.update(each.why for each in choice.dropped)
        if (why := choice.why_none) is not None:
            self.without[why] += 1

    def reasons(self) -> str:
        """Why problems have no pair, in words, the commonest first.

        Example:
            >>> Paired(without=Counter(margin=3, one_candidate=1), problems=4).reasons()
            '3 margin (the scores are too close), 1 one_candidate (the problem has a single candidate)'
        """
        return ", ".join(f"{count:,} {why} ({MEANINGS[why]})" for why, count in self.without.most_common())

    def check(self, where: str) -> None:
        """Refuse to go on without a pair.

        Args:
            where: what the candidates are of, as errors name it.

        Raises:
            ShepherdError: if there is none, with the reasons.
        """
        if not self.pairs:
            raise ShepherdError(
                f"{where}: no pair in {self.problems:,} problems: {self.reasons()}; sample more candidates a "
                "problem, or ask less of a pair (pairs.margin, pairs.outcome)"
            )


def choose(
    pool: ProblemPool,
    scores: ScoreLine,
    graded: GradedProblem,
    config: PairsConfig,
    *,
    prompt: PromptConfig,
    round: int,
) -> Choice:
    """Choose the pairs of one problem.

    Args:
        pool: the problem and its candidates.
        scores: P(step is correct) of each step of each candidate, in [0, 1].
        graded: the candidates' answers. Which of them have one always counts; which are right counts where
            ``config.outcome`` asks for the gold answer.
        config: which candidates are paired.
        prompt: how the question became the prompt that they were sampled from.
        round: of the pairs, from 1 (0 for pairs that no round learns from); candidates are named
            ``round-1/p17/3``.
    """
    asked = make_prompt(pool.problem.id, pool.problem.question, prompt)
    found = members(
        pool, scores, graded, prompt=asked, aggregation=config.aggregation, origin=f"round-{round}"
    )
    if len(found) < 2:
        return Choice([], [], [Dropped(each.id, "", each.score, None, "one_candidate") for each in found])
    considered = _in_order(found, config)
    refusal = refusals(config, first=first_of_their_text(found), has_gold=graded.gold is not None)
    chosen: list[Compared] = []
    dropped: list[Dropped] = []
    for two in considered:
        why = refusal(two) or _no_room(two, chosen, config)
        if why is None:
            chosen.append(two)
        else:
            dropped.append(Dropped(two.better.id, two.worse.id, two.chosen.score, two.rejected.score, why))
    pairs = [_pair(two, asked, config, pool.problem.id, round, scores.verifier) for two in chosen]
    return Choice(pairs, [(two.better.index, two.worse.index) for two in chosen], dropped)


def gather(choices: Iterable[Choice]) -> Paired:
    """Put together what was made of each of many problems, and count it."""
    paired = Paired()
    for choice in choices:
        paired.add(choice)
    return paired


def _in_order(found: Sequence[Member], config: PairsConfig) -> list[Compared]:
    """Every two candidates, in the order in which they may become a pair."""
    if config.how == "best_worst":
        place = {member.index: at for at, member in enumerate(sorted(found, key=rank))}
        return sorted(
            compare_solutions(found), key=lambda two: (place[two.better.index], -place[two.worse.index])
        )
    compared = compare_steps(found) if config.how == "steps" else compare_solutions(found)
    return sorted(
        compared,
        key=lambda two: (two.fault is not None, -two.margin, two.better.index, two.worse.index),
    )


def _no_room(two: Compared, chosen: Sequence[Compared], config: PairsConfig) -> Reason | None:
    """Why two candidates that would be a pair are none beside those that are one already."""
    if config.dedup and any(two.content == each.content for each in chosen):
        return "duplicate"
    if config.how == "best_worst":
        used = {member.index for each in chosen for member in (each.better, each.worse)}
        if {two.better.index, two.worse.index} & used:
            return "taken"
    return "cap" if len(chosen) >= config.max_per_problem else None


def _pair(
    two: Compared, asked: Prompt, config: PairsConfig, problem: str, number: int, verifier: str
) -> Pair:
    """The pair that two candidates are."""
    chosen, rejected = (
        Side(text.text, text.ends, member.id, text.score)
        for text, member in ((two.chosen, two.better), (two.rejected, two.worse))
    )
    return Pair(
        prompt=_prompt(asked, two.prefix),
        chosen=chosen,
        rejected=rejected,
        problem=problem,
        round=number,
        verifier=verifier,
        why=_why(two, config),
    )


def _prompt(asked: Prompt, prefix: str) -> PromptText:
    """What both sides continue: the prompt, and the steps that they share."""
    begun = as_prompt(asked)
    if not prefix:
        return begun
    return begun + prefix if isinstance(begun, str) else (*begun, ("assistant", prefix))


def _why(two: Compared, config: PairsConfig) -> str:
    """The rule that chose a pair, in words."""
    rule = config.how if two.step is None else f"{config.how}: step {two.step + 1}"
    by = f" by {config.aggregation}" if two.step is None else ""
    return rule + by + ("" if config.outcome == "verifier" else f", {config.outcome}")
