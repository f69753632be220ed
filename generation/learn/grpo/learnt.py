"""What a trainer is handed of a generation batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.scores import FloatArray

KEPT = "kept"
"""A reward of weight 0: whether the completion's group counts. No row is without any reward by it."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """One generation batch, as the trainer takes it: ``B`` completions, whole groups one after another.

    Attributes:
        prompts: token ids of each completion's prompt.
        completions: token ids of each completion, the end token among them.
        logprobs: of those tokens, as the sampler computed them (vLLM's differ from the policy's); None where
            it was the policy itself that sampled.
        rewards: by name, one number a completion, NaN where it is not scorable by this reward.
        advantages: of each completion's tokens.
    """

    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[int]]
    logprobs: Sequence[Sequence[float]] | None
    rewards: Mapping[str, Sequence[float]]
    advantages: Sequence[FloatArray]
