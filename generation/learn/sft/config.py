"""What `shepherd sft` can be told. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from generation.config import PromptConfig
from generation.learn.config import PolicyConfig
from verifier.shape import Shape

EMBEDDED_ROWS = 4_000
"""Problems drawn from the embedded world where `limit` is null: it has no end of its own."""


class SftConfig(PolicyConfig):
    """Everything that decides what `shepherd sft` trains.

    Attributes:
        base: ``embedded:weak``, a folder or a hub name.
        data: ``embedded``, ``gsm8k`` (the train split on the hub), or a file of solved problems: question and
            solution, question and steps, or GSM8K's question and answer.
        shape: sizes of the base, for a plan where the base is not on this machine; an error if they are not
            its.
        limit: the first so many rows; null for all of a file, and 4,000 of the embedded world.
        evaluation_problems: what no training question may be one of, as for `shepherd train-prm`.
        allow_contamination: train on such questions all the same.
        drop_contaminated: leave them out, counted, and go on.
        trust_remote_code: run code that comes with the base.
        annotations: GSM8K's calculator notes, as in ``48/2=<<48/2=24>>24``: keep or drop them.
        tags: close every step by the tag, as Math-Shepherd's generators do, the packaged models among them.
        prompt: as `shepherd generate` is told; the solution is what follows it.
        batch_size: rows in one forward pass.
        accumulation: forward passes an optimizer step.
        max_length: tokens of prompt and solution; longer rows are left out and counted.
        eval_fraction: part of the *questions* held out.
        eval_every: optimizer steps between evaluations; null for the first and the last step alone.
        checkpoint_every: optimizer steps between checkpoints; null for a tenth of the run.
    """

    base: str = Field("embedded:weak", min_length=1)
    shape: Shape | None = None
    data: str = Field("embedded", min_length=1)
    limit: int | None = Field(None, ge=1)
    evaluation_problems: tuple[str, ...] | None = None
    allow_contamination: bool = False
    drop_contaminated: bool = False
    annotations: Literal["keep", "drop"] = "drop"
    tags: bool = False
    prompt: PromptConfig = PromptConfig()

    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    max_length: int = Field(512, ge=8)

    eval_fraction: float = Field(0.05, ge=0, lt=1)
    eval_every: int | None = Field(None, ge=1)
    eval_limit: int | None = Field(500, ge=1)
    checkpoint_every: int | None = Field(None, ge=1)
    keep_checkpoints: int = Field(2, ge=1)

    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> SftConfig:
        if self.allow_contamination and self.drop_contaminated:
            raise ValueError("allow_contamination and drop_contaminated exclude each other; set one of them")
        return self
