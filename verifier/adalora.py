"""AdaLoRA: adapters of unequal rank, handed out while training (arXiv 2303.10512).

An adapter is P diag(E) Q instead of B A. It begins with more singular values than it may keep; from `tinit`
on the least important ones of all layers together are put to 0, until `tfinal` steps before the end the
target is met. peft's own allocator decides; this module derives its schedule from the plan, adds the penalty
that keeps P and Q orthogonal, carries the allocator's memory through checkpoints, and cuts away at the end
what is 0.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shepherd.errors import ShepherdError
from verifier.config import LoraConfig

_NAME = "default"
_MEMORY = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class Schedule(NamedTuple):
    """Ranks a layer at the start and on average at the end, and the steps between which the budget falls."""

    init_r: int
    target_r: int
    tinit: int
    tfinal: int
    delta_t: int


def schedule(lora: LoraConfig, steps: int) -> Schedule:
    """The budget's schedule over a run of `steps` optimizer steps; what is not configured is derived.

    Half as much again as the target to begin with (as in the paper), a tenth of the steps before the first
    cut, three tenths after the last, and about a hundred cuts.

    Example:
        >>> schedule(LoraConfig(kind="adalora", rank=8), steps=1000)
        Schedule(init_r=12, target_r=8, tinit=100, tfinal=300, delta_t=10)
    """
    given = lora.adalora
    target = target_rank(lora)
    init = -(-3 * target // 2) if given.init_r is None else given.init_r
    tinit = steps // 10 if given.tinit is None else given.tinit
    tfinal = 3 * steps // 10 if given.tfinal is None else given.tfinal
    if init <= target:
        raise ShepherdError(
            f"lora.adalora: init_r {init} is not above the target rank {target}, so there is nothing to cut; "
            "raise init_r, or use lora.kind=lora"
        )
    if tinit + tfinal >= steps or steps - tfinal < 2:
        raise ShepherdError(
            f"lora.adalora: tinit {tinit} and tfinal {tfinal} leave no step of {steps} to hand out ranks in; "
            "lower them, or train for more steps"
        )
    return Schedule(init, target, tinit, tfinal, given.delta_t or max(1, steps // 100))


def target_rank(lora: LoraConfig) -> int:
    """Mean rank of a layer at the end."""
    return lora.rank if lora.adalora.target_r is None else lora.adalora.target_r


def adalora_options(lora: LoraConfig, steps: int) -> dict[str, Any]:
    """What `peft.AdaLoraConfig` is told beyond what every adapter is."""
    found = schedule(lora, steps)
    return {
        "init_r": found.init_r,
        "target_r": found.target_r,
        "tinit": found.tinit,
        "tfinal": found.tfinal,
        "deltaT": found.delta_t,
        "beta1": lora.adalora.beta1,
        "beta2": lora.adalora.beta2,
        "orth_reg_weight": lora.adalora.orth_reg_weight,
        "total_step": steps,
    }


class RankBudget:
    """The part of a training that AdaLoRA adds to each step.

    Args:
        model: peft model with one AdaLoRA adapter.
    """

    def __init__(self, model: Any) -> None:
        self._tuner = model.base_model
        self._config = model.peft_config[_NAME]
        self._sides = [
            p if "lora_A" in name else p.T
            for name, p in self._tuner.model.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]

    def penalty(self) -> Tensor:
        """The weighted mean over all P and Q of how far their vectors are from orthonormal (eq. 4), a scalar.

        The Frobenius norm itself, not its square, as in peft.
        """
        apart = [torch.linalg.norm(side @ side.T - _identity(side)) for side in self._sides]
        weighted: Tensor = self._config.orth_reg_weight * torch.stack(apart).mean()
        return weighted

    def allocate(self, step: int) -> None:
        """Weigh the singular values and cut the budget; `step` is 1-based, after the optimizer has moved."""
        self._tuner.update_and_allocate(step)

    def state(self) -> dict[str, Any]:
        """What decides the next allocations: the moving averages of importance, and the last pattern."""
        allocator = self._tuner.rankallocator
        return {
            "pattern": self._config.rank_pattern,
            **{each: dict(getattr(allocator, each)) for each in _MEMORY},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        self._config.rank_pattern = state["pattern"]
        for each in _MEMORY:
            setattr(self._tuner.rankallocator, each, dict(state[each]))


def settle(model: Any) -> None:
    """Cut away the singular values that are 0, in place: what is measured then is what is saved.

    The pattern is read off the weights and not off the last allocation, so that it fits the adapter that
    early stopping has kept.
    """
    pattern = {
        name: (p != 0).view(-1).tolist()
        for name, p in model.base_model.model.named_parameters()
        if f"lora_E.{_NAME}" in name
    }
    model.peft_config[_NAME].rank_pattern = pattern
    with torch.random.fork_rng(devices=[]):
        model.base_model.resize_modules_by_rank_pattern(pattern, _NAME)


def ranks_of(model: Any) -> dict[str, int] | None:
    """Rank of each adapted layer by its name, or None of an adapter with one rank for all."""
    if str(model.peft_config[_NAME].peft_type.value) != "ADALORA":
        return None
    named = model.base_model.model.named_parameters()
    return {name.partition(".lora_E")[0]: len(p) for name, p in named if f"lora_E.{_NAME}" in name}


def ranks_by_kind(ranks: Mapping[str, int]) -> dict[str, tuple[int, int, int]]:
    """Layers, least and largest rank of each kind of layer (``q_proj``, …).

    Example:
        >>> ranks_by_kind({"layers.0.self_attn.q_proj": 3, "layers.1.self_attn.q_proj": 7})
        {'q_proj': (2, 3, 7)}
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for name, rank in ranks.items():
        kinds[re.sub(r".*\.", "", name)].append(rank)
    return {kind: (len(found), min(found), max(found)) for kind, found in kinds.items()}


def describe_ranks(ranks: Mapping[str, int]) -> str:
    """One line on a rank pattern.

    Example:
        >>> describe_ranks({"layers.0.q_proj": 3, "layers.1.q_proj": 7, "layers.0.v_proj": 2})
        'AdaLoRA ranks: 12 in 3 layers; q_proj 3 to 7, v_proj 2'
    """
    parts = [
        f"{kind} {low}" if low == high else f"{kind} {low} to {high}"
        for kind, (_, low, high) in ranks_by_kind(ranks).items()
    ]
    return f"AdaLoRA ranks: {sum(ranks.values()):,} in {len(ranks)} layers; {', '.join(parts)}"


def _identity(side: Tensor) -> Tensor:
    return torch.eye(len(side), dtype=side.dtype, device=side.device)
