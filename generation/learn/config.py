"""How a generator is trained, whatever it learns from. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from generation.config import ProblemsConfig
from shepherd.config import Config
from verifier.config import LoraConfig, Quantization, UpdateConfig


class PolicyConfig(UpdateConfig):
    """The weights that move: an adapter on a frozen base, and how it moves.

    Attributes:
        quantization: of the base while it is trained; ``nf4`` is 4 bits with double quantization.
        dtype: of what is not quantized, and of the computing; the adapter itself is fp32.
        lora: the adapter.
        gradient_checkpointing: recompute activations: less memory, about a third more time.
    """

    quantization: Quantization = "none"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    lora: LoraConfig = LoraConfig()
    gradient_checkpointing: bool = False

    @field_validator("lora")
    @classmethod
    def _no_ranks(cls, lora: LoraConfig) -> LoraConfig:
        if lora.kind != "lora":
            raise ValueError("kind: TRL's trainers hand out no ranks; adalora is for train-prm")
        return lora


class MeasureConfig(Config):
    """On which problems a policy is measured while it learns, and at its end.

    Attributes:
        validation: decides which round (or step) is kept, and when to stop; measured often.
        test: measured once, at the end, before and after.
        n: sampled candidates a problem, for sampled pass@1, maj@n and best-of-n.
        temperatures: the untrained policy is measured at each on the validation problems; the one at which
            its sampled pass@1 is best is what every policy is sampled at, so that mere sharpening does not
            count as learning.
        bootstrap: resamples for the intervals.
        seed: of the samples.
    """

    validation: ProblemsConfig = ProblemsConfig(split="validation", limit=200)
    test: ProblemsConfig = ProblemsConfig(split="test", limit=500)
    n: int = Field(8, ge=1)
    temperatures: tuple[float, ...] = Field((0.3, 0.6, 1.0), min_length=1)
    bootstrap: int = Field(10_000, ge=100)
    seed: int = Field(0, ge=0)

    @field_validator("temperatures")
    @classmethod
    def _positive(cls, temperatures: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < each <= 100 for each in temperatures):
            raise ValueError("each must be above 0 and at most 100; greedy is measured anyway")
        if len(set(temperatures)) < len(temperatures):
            raise ValueError("one stands there twice")
        return temperatures
