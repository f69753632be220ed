"""One generation batch: problems, completions of the policy as it is, rewards, gates, advantages.

    next problems -> completions -> answers graded, steps scored -> rewards -> gates -> others for those that
    failed -> an advantage for each token

Problems are asked in an order that the seed fixes; the place in it is also the name under which a
completion's random numbers are drawn, so a run that goes on from a checkpoint samples what the killed one
would have. Every completion that was sampled counts, those of groups that failed among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.grading import GradedProblem, grade_pools
from eval.scores import FloatArray, solution_scores
from generation.engines.texts import decode
from generation.learn.grpo.advantages import (
    combine,
    hybrid,
    min_advantages,
    outcome_advantages,
    process_advantages,
)
from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.gates import Verdict, count, gate, to_redraw
from generation.learn.grpo.learnt import KEPT, Learnt
from generation.learn.grpo.prepare import Prepared
from generation.learn.grpo.rewards import (
    outcome,
    process_returns,
    short_response,
    soft_format,
    total,
    verifier_outcomes,
)
from generation.learn.grpo.samplers import Completion, Sample
from generation.learn.grpo.steps_of_tokens import offsets_of_ids, step_ends
from generation.prompts import make_prompt
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool
from shepherd.steps import split


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one problem, and what they are worth.

    Attributes:
        graded: their answers.
        scores: step scores of each; None where no verifier runs.
        rewards: by name, one a completion; NaN where it is not scorable by this reward.
        total: their weighted sum, which the gates look at.
        verdict: of the gates.
    """

    problem: Problem
    completions: Sequence[Completion]
    graded: GradedProblem
    scores: Sequence[Sequence[float]] | None
    rewards: dict[str, FloatArray]
    total: FloatArray
    verdict: Verdict

    @property
    def solution_scores(self) -> list[float]:
        """The least step score of each solution, 0 without steps; nothing where no verifier runs."""
        return [] if self.scores is None else solution_scores(self.scores, "min").tolist()


@dataclass(frozen=True, slots=True)
class Made:
    """A generation batch.

    Attributes:
        asked: all groups that were sampled for it, those in whose place others were drawn among them.
        learnt: what is learnt from; groups that were not kept all the same have advantages of 0.
        place: problems asked so far, in the order of the run.
    """

    asked: Sequence[Group]
    learnt: Learnt
    place: int

    @property
    def drawn(self) -> int:
        """Completions sampled for it."""
        return sum(len(group.completions) for group in self.asked)

    @property
    def fates(self) -> dict[str, int]:
        """Groups sampled for it, by what became of them."""
        return {str(name): found for name, found in count(group.verdict for group in self.asked).items()}

    def row(self) -> dict[str, Any]:
        """What a line of batches.jsonl says of it: means over all that was sampled, and groups by fate."""
        completions = [each for group in self.asked for each in group.completions]
        answers = [answer for group in self.asked for answer in group.graded.answers]
        return {
            "groups": self.fates,
            "drawn": len(completions),
            "reward": _mean(group.total for group in self.asked),
            **{
                f"reward_{name}": _mean(group.rewards[name] for group in self.asked)
                for name in self.asked[0].rewards
            },
            "answered": float(np.mean([answer is not None for answer in answers])),
            "tokens": float(np.mean([len(each.ids) for each in completions])),
            "steps": float(np.mean([len(split(each.text).steps) for each in completions])),
            "cut": float(np.mean([not each.ended for each in completions])),
        }

    def check_answers(self, config: GrpoConfig) -> None:
        """Refuse a first batch in which nobody answers, where answers are rewarded.

        Raises:
            ShepherdError: with the counts.
        """
        completions = [each for group in self.asked for each in group.completions]
        answers = [answer for group in self.asked for answer in group.graded.answers]
        if not config.rewards.outcome or any(answer is not None for answer in answers):
            return
        cut = sum(not each.ended for each in completions)
        empty = sum(not each.text.strip() for each in completions)
        raise ShepherdError(
            f"model {config.model}: none of the {len(answers)} completions of the first batch states an "
            f"answer ({cut} reached sampling.max_new_tokens={config.sampling.max_new_tokens}, {empty} are "
            "empty); see prompt and sampling, or teach it the format first (shepherd sft)"
        )


class Rollouts:
    """Makes generation batches.

    Args:
        prepared: problems, verifier, config.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.config = prepared, prepared.config
        self._texts: dict[int, str] = {}  # of single tokens

    def make(self, sample: Sample, place: int, budget: int) -> Made:
        """Make the next batch.

        Args:
            sample: completions of the policy as it is.
            place: problems asked before.
            budget: completions that may be sampled; at least one batch.
        """
        config = self.config
        groups = self._groups(sample, place, config.prompts)
        place, asked = place + config.prompts, list(groups)
        for redrawn in range(config.gates.max_resamples):
            left = budget // config.generations - len(asked)
            failed = to_redraw([each.verdict for each in groups], redrawn, config.gates)[:left]
            if not failed:
                break
            others = self._groups(sample, place, len(failed))
            place += len(failed)
            asked += others
            for slot, other in zip(failed, others, strict=True):
                groups[slot] = other
        return Made(asked, self._learnt(groups), place)

    def _groups(self, sample: Sample, place: int, number: int) -> list[Group]:
        """Sample so many groups from a place on, and judge them."""
        config, train = self.config, self.prepared.asked.train
        problems = [train[index] for index in order_of(len(train), config.seed, place, number)]
        prompts = [
            make_prompt(f"{each.id}#{place + index}", each.question, config.prompt)
            for index, each in enumerate(problems)
        ]
        sampled = sample(prompts, config.generations)
        pools = [
            ProblemPool(problem, tuple(Candidate(each.text) for each in completions))
            for problem, completions in zip(problems, sampled, strict=True)
        ]
        answers = config.answers
        graded = grade_pools(pools, answers.style, answers.grader, timeout_s=answers.timeout_s)
        scores: Sequence[Sequence[Sequence[float]] | None] = [None] * len(pools)
        if self.prepared.verifier is not None:
            items = [(each.problem.question, [one.text for one in each.candidates]) for each in pools]
            scores = self.prepared.verifier.score_many(items, config.batch_tokens)
        return [self._judged(*each) for each in zip(problems, sampled, graded, scores, strict=True)]

    def _judged(
        self,
        problem: Problem,
        completions: Sequence[Completion],
        graded: GradedProblem,
        scores: Sequence[Sequence[float]] | None,
    ) -> Group:
        """Reward a group and ask the gates."""
        rewards = {
            name: np.array(self._reward(name, problem, completions, graded, scores), dtype=np.float64)
            for name in self.config.rewards.weights()
        }
        summed = total(rewards, self.config.rewards.weights())
        verdict = gate(summed, self.config.gates)
        return Group(problem, completions, graded, scores, rewards, summed, verdict)

    def _reward(
        self,
        name: str,
        problem: Problem,
        completions: Sequence[Completion],
        graded: GradedProblem,
        scores: Sequence[Sequence[float]] | None,
    ) -> Sequence[float]:
        """One reward of a group, by its name."""
        config = self.config
        if name in self.prepared.custom:
            function = self.prepared.custom[name]
            of_steps = scores if scores is not None else [()] * len(completions)
            return [
                function(problem.question, each.text, problem.answer, mine)
                for each, mine in zip(completions, of_steps, strict=True)
            ]
        if name == "soft_format":
            tags, style = config.rewards.tags, config.answers.style
            return [soft_format(each.text, tags=tags, style=style) for each in completions]
        right = [outcome(answer, graded.gold) for answer in graded.answers]
        if name == "outcome":
            return right
        if name == "short_response":
            most = config.sampling.max_new_tokens
            return [short_response(len(c.ids), most, r) for c, r in zip(completions, right, strict=True)]
        assert scores is not None  # the config asks for a verifier where one of these weighs anything
        if name == "verifier":
            return list(verifier_outcomes(scores, config.rewards.aggregation))
        return list(process_returns(scores, config.process_form))

    def _learnt(self, groups: Sequence[Group]) -> Learnt:
        """The groups as the trainer takes them."""
        completions = [each for group in groups for each in group.completions]
        logprobs = [each.logprobs for each in completions if each.logprobs is not None]
        rewards = {
            name: np.concatenate([group.rewards[name] for group in groups]).tolist()
            for name in groups[0].rewards
        }
        rewards[KEPT] = [float(group.verdict.keep) for group in groups for _ in group.completions]
        return Learnt(
            [each.prompt for each in completions],
            [each.ids for each in completions],
            logprobs or None,
            rewards,
            [tokens for group in groups for tokens in self._advantages(group)],
        )

    def _advantages(self, group: Group) -> list[FloatArray]:
        """An advantage for each token of each completion; 0 where the group is not kept.

        What rewards a completion as a whole is added up first and scaled as one; it then weighs as much as
        all those rewards together. So a small reward stays small beside one that differs, and where the
        others are equal throughout a group it decides alone.
        """
        config, gates = self.config, self.config.gates
        lengths = [len(each.ids) for each in group.completions]
        if not group.verdict.keep:
            return [np.zeros(length) for length in lengths]
        weights = config.rewards.per_completion
        parts: list[tuple[float, FloatArray | Sequence[FloatArray]]] = []
        if weights:
            summed = total(group.rewards, weights)
            parts.append((sum(map(abs, weights.values())), outcome_advantages(summed, gates.tolerance)))
        if config.rewards.process and group.scores is not None:
            parts.append((config.rewards.process, self._of_steps(group, group.scores, lengths)))
        found = combine(parts, lengths)
        if gates.hybrid_weight:
            found = hybrid(found, group.total, gates.hybrid_weight, gates.hybrid_baseline)
        return found

    def _of_steps(
        self, group: Group, scores: Sequence[Sequence[float]], lengths: Sequence[int]
    ) -> list[FloatArray]:
        """Advantages from the rewards of steps."""
        tolerance = self.config.gates.tolerance
        ends = [
            step_ends(each.text, offsets_of_ids(each.ids, self._decode, self._texts))
            for each in group.completions
        ]
        if self.config.process_form == "deepseek":
            return process_advantages(scores, ends, lengths, tolerance)
        return min_advantages(scores, ends, lengths, tolerance, self.config.process_credit)

    def _decode(self, ids: Sequence[int]) -> str:
        return decode(self.prepared.tokenizer, [list(ids)])[0]


def order_of(problems: int, seed: int, first: int, number: int) -> list[int]:
    """Which problems stand at places ``first`` to ``first + number - 1``: each once, then all again.

    Example:
        >>> order_of(3, seed=0, first=0, number=6)
        [2, 0, 1, 2, 0, 1]
        >>> order_of(3, seed=0, first=2, number=2)
        [1, 2]
    """
    places = range(first, first + number)
    laps = {
        lap: np.random.default_rng([seed, lap]).permutation(problems)
        for lap in sorted({place // problems for place in places})
    }
    return [int(laps[place // problems][place % problems]) for place in places]


def _mean(values: Iterable[FloatArray]) -> float | None:
    """The mean of those that are numbers; None where there are none."""
    flat = np.concatenate(list(values))
    known = flat[np.isfinite(flat)]
    return float(known.mean()) if known.size else None
