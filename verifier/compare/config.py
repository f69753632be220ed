"""What `shepherd compare-heads` compares. No torch is imported here."""

from __future__ import annotations

import pydantic
from pydantic import Field, field_validator

from shepherd.config import Config
from shepherd.errors import ShepherdError
from verifier.config import HEADS, HeadKind, TrainPrmConfig


class CompareHeadsConfig(Config):
    """Heads, their one training config, and the pool they rerank.

    Attributes:
        train: what `shepherd train-prm` is told, but for the head.
        heads: in the order of the table.
        pool: ``embedded`` (the packaged pool) or a file.
        limit: the first so many problems of the pool; null for all.
        n: candidates a problem; null for the pool's own size.
        bootstrap: resamples for the intervals.
        batch_tokens: most tokens that a verifier reads in one pass when it scores the pool, padding included.
    """

    train: TrainPrmConfig
    heads: tuple[HeadKind, ...] = Field(HEADS, min_length=1)
    pool: str = Field("embedded", min_length=1)
    limit: int | None = Field(None, ge=1)
    n: int | None = Field(None, ge=1)
    bootstrap: int = Field(10_000, ge=100)
    batch_tokens: int = Field(16384, ge=1)

    @field_validator("heads")
    @classmethod
    def _each_once(cls, heads: tuple[HeadKind, ...]) -> tuple[HeadKind, ...]:
        if len(set(heads)) < len(heads):
            raise ValueError("a head stands in it twice; name each once")
        return heads


def train_config(train: TrainPrmConfig, head: HeadKind) -> TrainPrmConfig:
    """The training of one head: all but the head is the same.

    ``loss: vocab`` is the language model's own head's alone; the others take ``pair``, which is the same
    cross-entropy over good and bad without the rest of the vocabulary.
    """
    values = {**train.model_dump(), "head": head, "loss": train.loss if head == "lm" else "pair"}
    try:
        return TrainPrmConfig.model_validate(values)
    except pydantic.ValidationError as error:
        found = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ShepherdError(f"head {head}: {found}") from error
