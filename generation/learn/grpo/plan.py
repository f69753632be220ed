"""What a run of `shepherd grpo` would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from generation.learn.estimate import held_out, update_stage
from generation.learn.grpo.config import GrpoConfig
from generation.plan import problems_of, prompt_tokens, sampling_stages, verifier_stage
from verifier.dry_run import Fact, Plan, Stage, Unknown
from verifier.estimate import Base, Batch, Estimate, sampling_memory
from verifier.estimate.parts import Part
from verifier.plan import no_shape
from verifier.shape import find_shape

_PASSING = ("activations", "logits", "gradients", "KV cache")
"""How the parts begin that a stage gives back at its end; the others stay for the whole run."""


def plan_grpo(config: GrpoConfig) -> Plan:
    """What `shepherd grpo` would do.

    Rollouts, scoring and update take turns on each batch while policy and verifier stay loaded, so each stage
    holds what the others keep. Measuring comes after all of them.
    """
    facts: dict[str, Fact] = {
        "problems": problems_of(config.problems)["problems"],
        "rollouts": config.rollouts,
        "completions_a_batch": config.batch,
        "generation_batches_at_most": config.most_batches,
        "steps_at_most": config.most_batches * config.steps_a_batch,
    }
    facts |= held_out(config.measure)
    length = prompt_tokens(config.prompt) + config.sampling.max_new_tokens
    update = update_stage(
        config, config.update, rows=config.per_device, length=length, accumulation=config.accumulation
    )
    stages = [_with(_rollouts(config), update, "policy"), update]
    if config.verifier is not None and config.scores_steps:
        scoring = verifier_stage(config)
        rollouts, learning = (_with(each, scoring, "verifier") for each in stages)
        stages = [rollouts, _with(scoring, update, "policy"), learning]
    measuring = [each._replace(name="measuring") for each in sampling_stages(config, config.measure.n)]
    return Plan(facts, (*stages, *measuring), config.device)


def _rollouts(config: GrpoConfig) -> Stage:
    """Memory of sampling a generation batch with the policy as it is trained, its weights left out."""
    shape = find_shape(config.model, config.shape)
    if shape is None:
        return Stage("rollouts", no_shape(config.model))
    prompt, sampling = prompt_tokens(config.prompt), config.sampling
    batch = Batch(config.prompts, config.generations, prompt, sampling.max_new_tokens, sampling.top_p)
    base = Base(shape, config.update.quantization, config.update.dtype)
    return Stage("rollouts", Estimate(sampling_memory(base, batch).parts[len(base.parts()) :]))


def _with(stage: Stage, other: Stage, what: str) -> Stage:
    """A stage with what another keeps loaded beside it."""
    if isinstance(stage.memory, Unknown):
        return stage
    if isinstance(other.memory, Unknown):
        return Stage(stage.name, other.memory)
    kept = sum(part.bytes for part in other.memory.parts if not part.name.startswith(_PASSING))
    beside = Part(f"{what}, loaded all the while", kept, f"what {other.name} keeps")
    return Stage(stage.name, Estimate((beside, *stage.memory.parts)))
