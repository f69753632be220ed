"""What `shepherd dpo-loop` can be told. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from generation.config import ProblemsConfig, SamplingConfig, ScoredConfig
from generation.learn.config import MeasureConfig
from generation.learn.dpo.config import DpoConfig
from generation.learn.loop.watches import WatchConfig
from generation.pairs.config import PairsConfig, UnionConfig


class DpoLoopConfig(ScoredConfig):
    """Everything that decides what `shepherd dpo-loop` does.

    Attributes:
        model: the generator that learns.
        adapter: an adapter that it starts with (a run of `shepherd sft`); null for the model alone.
        sampling: how rollouts are drawn; measuring has its own temperature (`measure.temperatures`).
        problems: training problems; rounds take slices of them in order, from the start again at their end.
            Their gold answers are needed only where `pairs.outcome` asks for them.
        rounds: at most so many.
        problems_a_round: rolled out in a round.
        n: rollouts a problem.
        pairs: which of them are paired.
        dagger: a round learns from the pairs of all rounds so far (arXiv 1011.0686, section 3); else from its
            own alone.
        union: how much earlier rounds count.
        start: which adapter a round's update goes on with.
        reference: the reference policy of DPO, for all rounds or the round before.
        update: the DPO update of a round.
        measure: validation and test problems.
        patience: rounds without a better greedy pass@1 on the validation problems before the loop stops; null
            for all rounds. The latest round that may be the best is kept.
        watch: bounds of what is watched; a round outside them is marked, and goes on.
        merge: write the best policy merged into its base as well.
    """

    sampling: SamplingConfig = SamplingConfig()
    problems: ProblemsConfig = ProblemsConfig(split="train")
    rounds: int = Field(3, ge=1)
    problems_a_round: int = Field(512, ge=1)
    n: int = Field(8, ge=2)
    pairs: PairsConfig = PairsConfig()
    dagger: bool = True
    union: UnionConfig = UnionConfig()
    start: Literal["initial", "previous"] = "previous"
    reference: Literal["initial", "previous"] = "initial"
    update: DpoConfig = DpoConfig()
    measure: MeasureConfig = MeasureConfig()
    patience: int | None = Field(None, ge=1)
    watch: WatchConfig = WatchConfig()
    merge: bool = False

    @model_validator(mode="after")
    def _possible(self) -> DpoLoopConfig:
        if self.verifier is None:
            raise ValueError("verifier: its verdicts are what the loop learns from; name one")
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature: greedy rollouts are all alike; give one above 0")
        if not self.dagger and self.union != UnionConfig():
            raise ValueError("union: without dagger a round learns from its own pairs alone; leave it out")
        if self.union.weights != "equal" and 0 in self.union.weights.values():
            raise ValueError("union.weights: a round that weighs 0 is rolled out for nothing; leave it out")
        if self.engine == "server":
            raise ValueError("engine: a server's weights do not change; use transformers or vllm")
        return self
