"""Which groups of completions are learnt from: those that can say something, counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from eval.scores import FloatArray
from generation.learn.grpo.advantages import Tolerance
from shepherd.config import Config

Reason = Literal["kept", "zero_variance", "minimum_quality", "unscorable"]
REASONS: tuple[Reason, ...] = get_args(Reason)


class GateConfig(Config):
    """Guard rails of a group; the gates look at the total reward of each completion.

    Where steps are rewarded, that is the sum in which their reward stands as one number a solution (see
    `generation.learn.grpo.rewards.process_returns`): the group, not a step of it, is kept or not.

    Attributes:
        zero_variance: a group whose total rewards are equal has no better and no worse, and is not learnt
            from (unless the absolute term of `hybrid_weight` has something to say of it).
        absolute_epsilon: rewards are equal if their largest and least differ by no more than this, ...
        relative_epsilon: ... and this part of the largest in magnitude, together. Equal float32 rewards that
            were summed in another order differ by 1e-7: a test for a spread of exactly 0 lets them pass.
        minimum_quality: a group whose best total reward is under it is not learnt from: the best of a bad lot
            is no example; null for no bound.
        max_resamples: times that other problems are drawn in the place of groups that were not kept (dynamic
            sampling, DAPO, arXiv 2503.14476, section 3.2). It bounds the work: a batch of P prompts samples
            at most P × generations × (1 + max_resamples) completions. What fails then contributes nothing.
        hybrid_weight: of the absolute term, weight × (total reward − baseline), that is added to the
            advantage; 0 for none.
        hybrid_baseline: the total reward that is neither good nor bad.
    """

    zero_variance: bool = True
    absolute_epsilon: float = Field(1e-6, ge=0, allow_inf_nan=False)
    relative_epsilon: float = Field(1e-6, ge=0, lt=1)
    minimum_quality: float | None = Field(None, allow_inf_nan=False)
    max_resamples: int = Field(0, ge=0, le=100)
    hybrid_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    hybrid_baseline: float = Field(0.5, allow_inf_nan=False)

    @property
    def tolerance(self) -> Tolerance:
        """What counts as equal, here and in the advantages."""
        return Tolerance(self.absolute_epsilon, self.relative_epsilon)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a group is learnt from, and why not."""

    keep: bool
    reason: Reason


def gate(rewards: FloatArray, config: GateConfig) -> Verdict:
    """Judge a group by the total rewards of its completions.

    Asked in this order: is every reward a number, is the best one good enough, do they differ?

    Args:
        rewards: shape ``(G,)``; NaN for a completion that nothing can score (a problem without gold answer).
        config: the gates.

    Raises:
        ValueError: for a group of none.

    Example:
        >>> gate(np.array([0.0, 1.0, 1.0]), GateConfig())
        Verdict(keep=True, reason='kept')
        >>> gate(np.array([0.7, 0.7 + 1e-7]), GateConfig()).reason
        'zero_variance'
        >>> gate(np.array([0.1, 0.3]), GateConfig(minimum_quality=0.5)).reason
        'minimum_quality'
    """
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"a group has rewards of shape (G,), G at least 1; found {values.shape}")
    if not np.isfinite(values).all():
        return Verdict(False, "unscorable")
    best, bound = float(values.max()), config.tolerance.bound(values)
    if config.minimum_quality is not None and best < config.minimum_quality - bound:
        return Verdict(False, "minimum_quality")
    if config.zero_variance and config.tolerance.equal(values) and _says_nothing(best, bound, config):
        return Verdict(False, "zero_variance")
    return Verdict(True, "kept")


def _says_nothing(reward: float, bound: float, config: GateConfig) -> bool:
    """Has the absolute term nothing to add for a group in which all have this reward?"""
    return config.hybrid_weight == 0 or abs(reward - config.hybrid_baseline) <= bound


def count(verdicts: Iterable[Verdict]) -> dict[Reason, int]:
    """Groups by reason; every reason has its number, so that metrics have the same columns in each batch.

    Example:
        >>> count([Verdict(True, "kept"), Verdict(False, "unscorable"), Verdict(True, "kept")])
        {'kept': 2, 'zero_variance': 0, 'minimum_quality': 0, 'unscorable': 1}
    """
    found = Counter(each.reason for each in verdicts)
    return {reason: found[reason] for reason in REASONS}


def to_redraw(verdicts: Sequence[Verdict], drawn: int, config: GateConfig) -> list[int]:
    """Places of the groups in whose stead other problems are to be sampled.

    Args:
        verdicts: on the groups of a batch as they stand.
        drawn: times that groups of this batch were drawn again so far.
        config: the gates, with their bound.

    Example:
        >>> verdicts = [Verdict(True, "kept"), Verdict(False, "zero_variance")]
        >>> [to_redraw(verdicts, drawn, GateConfig(max_resamples=2)) for drawn in range(3)]
        [[1], [1], []]
    """
    if drawn >= config.max_resamples:
        return []
    return [place for place, verdict in enumerate(verdicts) if not verdict.keep]
