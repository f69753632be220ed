"""How a policy learns from pairs. No torch is imported here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from generation.learn.config import PolicyConfig

DpoLoss = Literal["sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "nca_pair", "apo_zero", "apo_down"]
"""Losses of TRL's DPOTrainer that need nothing but the pair and ``beta`` (``robust``: the smoothing too)."""


class DpoConfig(PolicyConfig):
    """One DPO update.

    Attributes:
        beta: how dearly the policy pays for leaving the reference (arXiv 2305.18290, eq. 7); in ``ipo`` tau.
        loss: TRL's name of the loss: ``sigmoid`` is DPO; ``sigmoid_norm`` the same a token; ``ipo``
            (arXiv 2310.12036), a token too; ``hinge`` (arXiv 2305.10425); ``robust`` (arXiv 2403.00409);
            ``nca_pair`` (arXiv 2402.05369) and ``apo_zero`` (arXiv 2408.06266) hold the chosen side up.
        label_smoothing: for ``robust``: the share of pairs whose sides are believed to be swapped.
        sft_weight: weight of a further term, the mean negative log-probability of the chosen side's tokens
            (arXiv 2404.19733); 0 leaves it out.
        epochs: how often each pair is taken, times its weight.
        steps: exactly so many optimizer steps in the place of `epochs`: the pairs are begun again, or the
            rest of them left out.
        batch_size: pairs in one forward pass; each is two rows.
        accumulation: forward passes an optimizer step.
        max_length: tokens of prompt and longer side; longer pairs are left out and counted, never cut.
        batch_tokens: most padded tokens in one pass where log-probabilities are measured.
        checkpoint_every: optimizer steps between checkpoints; null for a tenth of the update.
        keep_checkpoints: the newest so many.
    """

    beta: float = Field(0.1, gt=0, allow_inf_nan=False)
    loss: DpoLoss = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    sft_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    epochs: float = Field(1.0, gt=0, allow_inf_nan=False)
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulation: int = Field(1, ge=1)
    max_length: int = Field(512, ge=8)
    batch_tokens: int = Field(8192, ge=1)
    checkpoint_every: int | None = Field(None, ge=1)
    keep_checkpoints: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _smooths_what_it_can(self) -> DpoConfig:
        if self.label_smoothing and self.loss != "robust":
            raise ValueError(f"label_smoothing is for loss: robust; with loss: {self.loss} leave it at 0")
        return self
