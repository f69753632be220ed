"""What `shepherd problems` can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shepherd.config import Config


class ProblemsConfig(Config):
    """Which problems `shepherd problems` writes; see `generation.embedded.world.generate_problems`."""

    split: Literal["train", "validation", "test"] = "test"
    count: int = Field(500, ge=1)
    seed: int = Field(0, ge=0)
    twin_share: float = Field(1.0, ge=0, allow_inf_nan=False)
