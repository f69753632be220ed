"""Optimizers and the learning-rate curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from shepherd.errors import ShepherdError
from verifier.config import TrainPrmConfig

_BETAS = (0.9, 0.999)


class OptimizerSettings(Protocol):
    """The keys of a training config that decide its steps."""

    @property
    def optimizer(self) -> str:
        """``adamw_torch``, one of bitsandbytes' AdamW, or ``muon``."""

    @property
    def learning_rate(self) -> float:
        """At its highest."""

    @property
    def weight_decay(self) -> float:
        """Decoupled, as AdamW has it."""

    @property
    def warmup_ratio(self) -> float:
        """Share of the steps over which the rate rises."""

    @property
    def scheduler(self) -> str:
        """``cosine``, ``linear`` or ``constant`` after the warm-up."""


def make_optimizers(
    config: TrainPrmConfig, adapter: Mapping[str, nn.Parameter], head: Sequence[nn.Parameter] = ()
) -> list[Any]:
    """The adapter's optimizer, and beside it AdamW for what is no matrix of an adapter.

    A head's own rows are always AdamW's, in fp32. Muon would give both directions of a head of two rows the
    same step, and one of them (both logits rising together) changes no score; and 8-bit state saves nothing
    on a few thousand numbers. AdaLoRA's singular values are columns of numbers, no matrices: AdamW's too
    where the rest is Muon's.

    Args:
        config: of the training.
        adapter: the adapter's parameters by name.
        head: those of a head that has its own.
    """
    import torch

    columns = [p for name, p in adapter.items() if config.optimizer == "muon" and "lora_E" in name]
    matrices = [p for p in adapter.values() if not any(p is column for column in columns)]
    groups: list[dict[str, Any]] = []
    if columns:
        groups.append({"params": columns})
    if head:
        scale = (config.head_learning_rate or config.learning_rate) / config.learning_rate
        groups.append({"params": list(head), "rate_scale": scale})
    if not groups:
        return [make_optimizer(config, matrices)]
    beside = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay, fused=True
    )
    return [make_optimizer(config, matrices), beside]


def set_learning_rate(optimizers: Sequence[Any], rate: float) -> None:
    """Give every group its rate: the adapter's, and a head's own in the same proportion at every step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)


def make_optimizer(config: OptimizerSettings, parameters: Sequence[nn.Parameter]) -> Any:
    """AdamW (torch's own, or one of bitsandbytes' with 8-bit or paged state), or Muon.

    Muon (Jordan 2024) takes orthogonalised momentum as the step of a matrix; an adapter is matrices only. Its
    rate is scaled to the size of AdamW's steps (arXiv 2502.16982).
    """
    import torch

    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": _BETAS,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw_torch":
        return torch.optim.AdamW(parameters, fused=True, **options)
    if config.optimizer == "muon":
        return torch.optim.Muon(
            parameters,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
    from bitsandbytes.optim import adamw

    kinds = {
        "adamw_8bit": adamw.AdamW8bit,
        "paged_adamw_8bit": adamw.PagedAdamW8bit,
        "paged_adamw_32bit": adamw.PagedAdamW32bit,
    }
    optimizer = kinds[config.optimizer](parameters, **options)
    optimizer._cpu_paged_warned = True  # without CUDA the state stays where it is, which is what is wanted
    return optimizer


def learning_rate_at(step: int, total: int, config: OptimizerSettings) -> float:
    """Learning rate of optimizer step `step` of `total` (0-based): linear warm-up, then the scheduler.

    Example:
        >>> from verifier.config import TrainPrmConfig
        >>> config = TrainPrmConfig(learning_rate=1.0, warmup_ratio=0.5, scheduler="linear")
        >>> [learning_rate_at(step, 4, config) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if not 0 <= step < total:
        raise ShepherdError(f"step {step} is outside the plan of {total} steps")
    warmup = math.ceil(config.warmup_ratio * total)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if config.scheduler == "constant":
        return config.learning_rate
    if config.scheduler == "linear":
        return config.learning_rate * (1 - done)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
