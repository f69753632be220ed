"""What a run of `shepherd grpo` would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from generation.learn.estimate import update_stage
from generation.learn.grpo.config import GrpoConfig
from generation.plan import problems_of, prompt_tokens, sampling_stages
from verifier.dry_run import Fact, Plan
from verifier.plan import scoring_stage


def plan_grpo(config: GrpoConfig) -> Plan:
    """What `shepherd grpo` would do. Its stages take turns on each batch; policy and verifier stay loaded."""
    facts: dict[str, Fact] = {
        "problems": problems_of(config.problems)["problems"],
        "rollouts": config.rollouts,
        "completions_a_batch": config.batch,
        "generation_batches_at_most": config.most_batches,
        "steps_at_most": config.most_batches * config.steps_a_batch,
    }
    facts |= {
        f"{name}_problems": problems_of(split)["problems"]
        for name, split in (("validation", config.measure.validation), ("test", config.measure.test))
    }
    stages = sampling_stages(config.model_copy(update={"chunk": config.batch}), config.generations)
    if config.verifier is not None and config.rewards.wants_scores:
        stages += (
            scoring_stage(
                config.verifier,
                config.verifier_shape,
                config.batch_tokens,
                published=config.published,
                device=config.device,
                key="verifier_shape",
            ),
        )
    stages += (
        update_stage(
            config,
            config.update,
            rows=config.per_device,
            length=prompt_tokens(config.prompt) + config.sampling.max_new_tokens,
            accumulation=config.accumulation,
        ),
    )
    return Plan(facts, stages, config.device)
