"""What a loop would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from generation.learn.estimate import held_out, update_stage
from generation.learn.loop.config import DpoLoopConfig
from generation.plan import problems_of, sampling_stages, verifier_stage
from shepherd.problems import EMBEDDED
from verifier.dry_run import Fact, Plan


def plan_loop(config: DpoLoopConfig) -> Plan:
    """What `shepherd dpo-loop` would do: its stages take turns, and each gives its memory back."""
    problems = problems_of(config.problems)["problems"]
    rollouts: Fact = problems
    if isinstance(problems, int):
        endless = config.problems.source == EMBEDDED and config.problems.limit is None
        here = config.problems_a_round if endless else min(problems, config.problems_a_round)
        rollouts = config.rounds * here * config.n
    facts: dict[str, Fact] = {"rounds": config.rounds, "rollouts": rollouts, **held_out(config.measure)}
    update = config.update
    if update.steps is not None:
        facts["steps"] = config.rounds * update.steps
    learning = update_stage(config, update, rows=2 * update.batch_size, length=update.max_length)
    sampling = sampling_stages(config, max(config.n, config.measure.n))
    return Plan(facts, (*sampling, verifier_stage(config), learning), config.device)
