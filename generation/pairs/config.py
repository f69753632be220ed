"""Which candidates are paired, and how much the pairs of earlier rounds count. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from eval.scores import Aggregation
from generation.config import PoolConfig, ScoredConfig, refuse_skip
from shepherd.answers import AnswerStyle, style_of
from shepherd.config import Config

How = Literal["best_worst", "above_margin", "steps"]
Outcome = Literal["verifier", "gold", "gold_both"]


class PairsConfig(Config):
    """Which pairs the scored candidates of a problem give; `generation.pairs.choose` makes them.

    Attributes:
        how: ``best_worst`` accepts the best candidate by solution score and rejects the worst;
            ``above_margin`` takes any two, best margins first; ``steps`` takes two candidates at the first
            step in which they differ: a good and a bad next step after the same steps (Step-DPO, arXiv
            2406.18629).
        aggregation: from step scores to the solution score that ranks candidates.
        margin: least difference of the two scores that are compared: of the solutions, or of the next steps.
            At 0 there must still be a difference.
        good_step: for ``steps``: the accepted step scores at least this, the rejected one less, and every
            step before them at least this; null leaves all to the margin.
        outcome: ``verifier`` asks for no gold answer; ``gold``: the accepted candidate has it; ``gold_both``:
            and the rejected one has it not.
        max_length_ratio: longer text over shorter one at most, in tokens where both are known and in
            characters elsewhere; null for any.
        max_per_problem: pairs of one problem at most.
        dedup: of candidates with the same text only the first one counts, and a step that was paired is not
            paired again.
    """

    how: How = "best_worst"
    aggregation: Aggregation = "min"
    margin: float = Field(0.3, ge=0, le=1)
    good_step: float | None = Field(0.5, ge=0, le=1)
    outcome: Outcome = "verifier"
    max_length_ratio: float | None = Field(None, ge=1, allow_inf_nan=False)
    max_per_problem: int = Field(1, ge=1)
    dedup: bool = True


class UnionConfig(Config):
    """How much the pairs of a round count in the aggregate of all rounds; `generation.pairs.union` makes it.

    Attributes:
        decay: a pair of a round that lies k rounds back weighs decay to the power of k.
        weights: weights by round instead, as {1: 0.5, 2: 1}; a round that is not named weighs 1, and one that
            weighs 0 is left out.
    """

    decay: float = Field(1.0, gt=0, le=1)
    weights: Literal["equal"] | dict[int, float] = "equal"

    @field_validator("weights")
    @classmethod
    def _possible(cls, weights: Literal["equal"] | dict[int, float]) -> Literal["equal"] | dict[int, float]:
        for number, weight in {} if weights == "equal" else weights.items():
            if number < 1:
                raise ValueError(f"round {number}: rounds are counted from 1")
            if not 0 <= weight <= 1000:
                raise ValueError(f"round {number}: a weight must be in [0, 1000], found {weight}")
        return weights

    @model_validator(mode="after")
    def _one_way(self) -> UnionConfig:
        if self.decay != 1 and self.weights != "equal":
            raise ValueError("decay and weights both say what a round weighs; give one of them")
        return self


class PairUpConfig(ScoredConfig):
    """What `shepherd pairs` chooses from; the keys of the sampler but `prompt` do not count.

    Attributes:
        pool: the candidates; the packaged pool if it is ``embedded``.
        scores: their scores made before; null has `verifier` score them.
        pairs: which of them are paired.
        round: the number that the pairs carry.
        dropped: write every pair that was not chosen too, with its reason.
    """

    pool: PoolConfig = PoolConfig(file="embedded")
    scores: str | None = Field(None, min_length=1)
    pairs: PairsConfig = PairsConfig()
    round: int = Field(1, ge=1)
    dropped: bool = False

    @model_validator(mode="after")
    def _has_both(self) -> PairUpConfig:
        refuse_skip(self.pool, self.problems)
        if self.pool.file is None:
            raise ValueError("pool.file: pairs are made of a pool; sample one with shepherd generate")
        if self.scores is None and self.verifier is None:
            raise ValueError("verifier: pairs need scores; name a verifier, or a scores file")
        return self

    @property
    def answer_style(self) -> AnswerStyle:
        """The style asked for, else the one the pool's format is known to have."""
        return style_of(self.answers.style, self.pool.format)
