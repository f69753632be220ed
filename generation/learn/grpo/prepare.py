"""What of a run is fixed, and checked, before its first completion: problems, verifier, rewards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generation.learn.asked import Asked, read_asked
from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.rewards import CustomReward, load_custom
from generation.learn.grpo.samplers import pick_rollout
from generation.learn.require import require
from generation.scored import lazy_verifier
from shepherd.answers import extract, extract_text
from shepherd.errors import ShepherdError
from shepherd.files import dump_line
from shepherd.records import Problem
from verifier import model as models
from verifier.lazy import LazyVerifier


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` fixes.

    Attributes:
        asked: the problems, in training and held out.
        custom: rewards of the user's own, by name.
        verifier: scores the steps; None where no reward needs it.
        rollout: what samples the completions.
        why: the line that says so.
    """

    config: GrpoConfig
    asked: Asked
    tokenizer: Any
    custom: Mapping[str, CustomReward]
    verifier: LazyVerifier | None
    rollout: Literal["transformers", "vllm"]
    why: str

    @property
    def plan(self) -> str:
        """Hash of the problems; the rest of the plan is the config, which a resumed run keeps."""
        asked = self.asked
        lines = [dump_line(each.to_json()) for each in (*asked.train, *asked.validation, *asked.test)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        """What a run's log says of it."""
        config, asked = self.config, self.asked
        yield self.why
        yield (
            f"problems: {len(asked.train):,} to train on, {len(asked.validation):,} validation, "
            f"{len(asked.test):,} test"
        )
        yield (
            f"plan: {config.rollouts:,} rollouts, {config.most_batches:,} generation batches of "
            f"{config.prompts} × {config.generations}, {config.steps_a_batch} optimizer steps on each"
        )


def prepare(config: GrpoConfig) -> Prepared:
    """Read problems, load the verifier where a reward needs it, and pick what samples; no policy is loaded.

    Raises:
        ShepherdError: where engines, problems, verifier or rewards cannot be what the config says.
    """
    models.quiet_bitsandbytes()
    require(config)
    rollout, why = pick_rollout(config)
    custom = {name: load_custom(name) for name in config.rewards.custom}
    asked = read_asked(config.problems, config.measure, config.most_batches * config.prompts)
    train = asked.train
    if len(train) < config.prompts:
        raise ShepherdError(
            f"problems: {len(train)} to train on, and a generation batch asks {config.prompts}; "
            f"set prompts={len(train)}, or give more"
        )
    if config.rewards.outcome and not any(_readable(each) for each in train):
        raise ShepherdError(
            f'problems: none of {len(train)} has a gold answer that can be read ("answer"), and the outcome '
            "reward needs one; weigh it 0 (--set rewards.outcome=0) to learn from the others alone"
        )
    verifier = None
    if config.verifier is not None and config.scores_steps:
        verifier = lazy_verifier(config.verifier, config)
        verifier.load()  # a tag contract that does not fit is told before anything is sampled
    tokenizer = models.load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    return Prepared(config, asked, tokenizer, custom, verifier, rollout, why)


def _readable(problem: Problem) -> bool:
    """Has it a gold answer that either grader can read?"""
    gold = problem.answer
    return gold is not None and (extract(gold, "gold") is not None or extract_text(gold, "gold") is not None)
