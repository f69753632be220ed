"""How a generator is trained, whatever it learns from. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

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
