"""What `shepherd pairs` would do and take; its ``--dry-run``."""

from __future__ import annotations

from generation.pairs.config import PairUpConfig
from generation.pairs.make import read_given
from generation.plan import verifier_stage
from verifier.dry_run import Fact, Plan


def plan_pairs(config: PairUpConfig) -> Plan:
    """How many twos are looked at, and the verifier's memory where it scores."""
    sizes = [len(pool.candidates) for pool in read_given(config).pools]
    facts: dict[str, Fact] = {
        "problems": len(sizes),
        "candidates": sum(sizes),
        "considered": sum(size * (size - 1) // 2 for size in sizes),
        "pairs_at_most": config.pairs.max_per_problem * len(sizes),
    }
    if config.scores is not None or config.verifier is None:
        return Plan(facts, (), config.device)
    return Plan(facts, (verifier_stage(config),), config.device)
