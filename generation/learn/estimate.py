"""What the dry runs of learning share: the problems held out, and the memory of an update."""

from __future__ import annotations

from generation.config import SamplerConfig
from generation.learn.config import MeasureConfig, PolicyConfig
from generation.plan import problems_of
from verifier.dry_run import Fact, Stage
from verifier.estimate import Base, Step, training_memory
from verifier.plan import adapter_of, no_shape
from verifier.shape import find_shape


def held_out(settings: MeasureConfig) -> dict[str, Fact]:
    """How many problems a policy is measured on, where their sources are on this machine."""
    splits = {"validation": settings.validation, "test": settings.test}
    return {f"{name}_problems": problems_of(split)["problems"] for name, split in splits.items()}


def update_stage(
    config: SamplerConfig, policy: PolicyConfig, *, rows: int, length: int, accumulation: int = 1
) -> Stage:
    """Memory of one optimizer step.

    Args:
        config: the model and, where it is not on this machine, its shape.
        policy: the adapter, the base's quantization, the optimizer.
        rows: sequences in one forward pass.
        length: most tokens of one.
        accumulation: forward passes an optimizer step.
    """
    shape = find_shape(config.model, config.shape)
    if shape is None:
        return Stage("update", no_shape(config.model))
    tokens = rows * length
    step = Step(tokens, tokens, "vocab", policy.optimizer, policy.gradient_checkpointing, accumulation)
    base = Base(shape, policy.quantization, policy.dtype)
    return Stage("update", training_memory(base, adapter_of(policy.lora, shape), step))
