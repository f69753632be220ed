"""What `shepherd grpo` can be told. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from generation.config import ProblemsConfig, SamplingConfig, ScoredConfig
from generation.learn.config import MeasureConfig, PolicyConfig
from generation.learn.grpo.advantages import Credit
from generation.learn.grpo.gates import GateConfig
from generation.learn.grpo.rewards import ProcessForm, RewardsConfig
from generation.learn.grpo.sentinels import SentinelConfig

LossType = Literal["dr_grpo", "dapo", "grpo", "bnpo"]
Rollout = Literal["auto", "transformers", "vllm"]


class GrpoUpdateConfig(PolicyConfig):
    """One update of the policy, as TRL's GRPOTrainer computes it.

    Attributes:
        beta: what leaving the reference, the policy as it began, costs: the weight of its KL divergence; 0
            keeps no reference.
        epsilon_low: a token whose probability has fallen by more than this share is pushed down no further.
        epsilon_high: one that has risen by more is pushed up no further; more than ``epsilon_low`` leaves
            rare tokens room (arXiv 2503.14476, section 3.1).
        loss_type: how tokens are weighed: ``dr_grpo`` each the same, by the length that is allowed (arXiv
            2503.20783); ``dapo`` each the same, by those there are; ``grpo`` each solution the same (arXiv
            2402.03300); ``bnpo`` as dapo, a forward pass at a time.
        num_iterations: times each generation batch is learnt from.
    """

    beta: float = Field(0.02, ge=0, allow_inf_nan=False)
    epsilon_low: float = Field(0.2, gt=0, lt=1)
    epsilon_high: float = Field(0.28, gt=0, allow_inf_nan=False)
    loss_type: LossType = "dr_grpo"
    num_iterations: int = Field(1, ge=1)


class GrpoConfig(ScoredConfig):
    """Everything that decides what `shepherd grpo` trains.

    A generation batch is ``prompts`` problems with ``generations`` completions each, sampled by the policy as
    it then is; ``update.num_iterations`` times it is learnt from, ``per_device`` completions a forward pass
    and ``accumulation`` passes an optimizer step.

    Attributes:
        problems: those trained on; asked in an order fixed by ``seed``, from the beginning again at the end.
        adapter: that the policy begins with, and the reference is; null for a fresh one.
        update: adapter, optimizer, loss.
        rollouts: completions sampled in all, those of resampled groups among them, so that runs can be
            compared at equal rollouts.
        prompts: groups of a generation batch.
        generations: completions of a group.
        per_device: completions in one forward and backward pass.
        accumulation: passes an optimizer step.
        rollout: what samples while the policy is trained: ``vllm`` by TRL's own path, ``transformers`` by the
            sampler of `shepherd generate`; ``auto`` is vllm where it can run. ``engine`` samples where the
            policy is measured.
        rewards: weights by name.
        process_form: how step rewards become advantages: ``min`` credits the step that sets the solution's
            minimum (arXiv 2504.15275), ``deepseek`` each token with the steps that end at or after it (arXiv
            2402.03300, section 4.1.3).
        process_credit: in the min-form: the tokens of that ``step`` alone, or all ``until`` its end.
        gates: which groups count, and how often others are drawn in their place.
        sentinels: what ends a run that games its rewards.
        measure: problems held out.
        eval_every: generation batches between two evaluations on the validation problems.
        checkpoint_every: generation batches between two checkpoints.
        keep_checkpoints: newest ones kept.
    """

    problems: ProblemsConfig = ProblemsConfig(split="train")
    sampling: SamplingConfig = SamplingConfig(max_new_tokens=256)
    update: GrpoUpdateConfig = GrpoUpdateConfig()
    rollouts: int = Field(8192, ge=2)
    prompts: int = Field(16, ge=1)
    generations: int = Field(8, ge=2)
    per_device: int = Field(64, ge=1)
    accumulation: int = Field(1, ge=1)
    rollout: Rollout = "auto"
    rewards: RewardsConfig = RewardsConfig()
    process_form: ProcessForm = "min"
    process_credit: Credit = "step"
    gates: GateConfig = GateConfig()
    sentinels: SentinelConfig = SentinelConfig()
    measure: MeasureConfig = MeasureConfig()
    eval_every: int = Field(16, ge=1)
    checkpoint_every: int = Field(8, ge=1)
    keep_checkpoints: int = Field(2, ge=1)

    @field_validator("sampling")
    @classmethod
    def _whole_distribution(cls, sampling: SamplingConfig) -> SamplingConfig:
        if sampling.temperature == 0:
            raise ValueError("temperature: greedy completions of a prompt are all the same; set it above 0")
        if sampling.top_p < 1:
            raise ValueError("top_p: the loss is that of the whole distribution; leave it at 1")
        return sampling

    @model_validator(mode="after")
    def _divides(self) -> GrpoConfig:
        batch, step = self.batch, self.per_device * self.accumulation
        if batch % step:
            raise ValueError(
                f"per_device × accumulation = {step} must divide prompts × generations = {batch}, the "
                "completions of a generation batch"
            )
        if self.rollouts < batch:
            raise ValueError(
                f"rollouts: {self.rollouts} are fewer than one generation batch, prompts × generations = "
                f"{batch}"
            )
        if self.verifier is None and self.rewards.needs_verifier:
            raise ValueError("verifier: the rewards verifier and process need one; name it, or weigh them 0")
        if self.engine == "server":
            raise ValueError(
                "engine: a server does not hold the policy that is trained; use transformers, or vllm"
            )
        return self

    @property
    def scores_steps(self) -> bool:
        """Does the verifier score what is sampled?"""
        rewards = self.rewards
        return self.verifier is not None and (rewards.needs_verifier or bool(rewards.custom))

    @property
    def batch(self) -> int:
        """Completions of a generation batch."""
        return self.prompts * self.generations

    @property
    def steps_a_batch(self) -> int:
        """Optimizer steps taken on each generation batch."""
        return self.batch // (self.per_device * self.accumulation) * self.update.num_iterations

    @property
    def most_batches(self) -> int:
        """Generation batches of the run, where no group is drawn again."""
        return self.rollouts // self.batch
