"""What a loop would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from generation.learn.estimate import update_stage
from generation.learn.loop.config import DpoLoopConfig
from generation.plan import problems_of, sampling_stages
from verifier.dry_run import Fact, Plan
from verifier.plan import scoring_stage


def plan_loop(config: DpoLoopConfig) -> Plan:
    """What `shepherd dpo-loop` would do: its stages take turns, and each gives its memory back."""
    problems = problems_of(config.problems)["problems"]
    rollouts: Fact = problems
    if isinstance(problems, int):
        here = (
            config.problems_a_round
            if config.problems.limit is None
            else min(problems, config.problems_a_round)
        )
        rollouts = config.rounds * here * config.n
    measured: dict[str, Fact] = {
        f"{name}_problems": problems_of(split)["problems"]
        for name, split in (("validation", config.measure.validation), ("test", config.measure.test))
    }
    facts: dict[str, Fact] = {"rounds": config.rounds, "rollouts": rollouts, **measured}
    if config.update.steps is not None:
        facts["steps"] = config.rounds * config.update.steps
    return Plan(
        facts,
        (
            *sampling_stages(config, max(config.n, config.measure.n)),
            scoring_stage(
                str(config.verifier),
                config.verifier_shape,
                config.batch_tokens,
                published=config.published,
                device=config.device,
                key="verifier_shape",
            ),
            update_stage(
                config, config.update, rows=2 * config.update.batch_size, length=config.update.max_length
            ),
        ),
        config.device,
    )
