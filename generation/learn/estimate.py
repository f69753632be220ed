"""Memory of the update that a preference loss or a policy gradient makes; for dry runs."""

from __future__ import annotations

from generation.config import SamplerConfig
from generation.learn.config import PolicyConfig
from verifier.dry_run import Stage
from verifier.estimate import Base, Step, training_memory
from verifier.plan import adapter_of, no_shape
from verifier.shape import find_shape


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
