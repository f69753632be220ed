"""What is watched while a policy learns from its own verdicts, and the bounds outside which it is told.

Pure: numbers of a round in, alarms out. An alarm stops nothing: the validation problems decide which round is
kept. It says what a falling or a rising curve would have shown too late.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from shepherd.config import Config


class WatchConfig(Config):
    """Bounds of the watches.

    Attributes:
        chosen_drop: how far the mean log-probability of accepted solutions (nats a token, on the fixed probe
            pairs) may fall below its start. DPO can lower both sides and still widen their margin.
        kl: largest KL divergence to the reference (nats a token).
        entropy_share: least entropy, as a share of its start.
        length_ratio: largest change of the mean length, either way, as a ratio to its start.
        answered_drop: how far the share of candidates that state an answer may fall below its start.
        gap_opening: how far the verifier's mean score may rise above accuracy, more than it did at the start.
        loss_spread: largest standard deviation of the probe loss between rounds (nats).
    """

    chosen_drop: float = Field(0.05, gt=0)
    kl: float = Field(0.5, gt=0)
    entropy_share: float = Field(0.3, ge=0, lt=1)
    length_ratio: float = Field(1.5, gt=1)
    answered_drop: float = Field(0.1, gt=0, le=1)
    gap_opening: float = Field(0.1, gt=0, le=1)
    loss_spread: float = Field(0.2, gt=0)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched of one round; None where it was not measured.

    Attributes:
        probe_loss: DPO loss (nats) on the fixed held-out pairs against the initial policy; log 2 before the
            first update.
        probe_margin: mean reward margin there, beta times the difference of the two log-ratios.
        chosen_logp: mean log-probability of their accepted sides (nats a token).
        rejected_logp: of their rejected sides.
        kl: KL divergence to the reference (nats a token), on the round's validation samples.
        entropy: of the policy (nats a token), on the same.
        tokens: mean length of a sampled candidate.
        answered: share of sampled candidates that state an answer.
        gap: the verifier's mean score minus sampled pass@1.
    """

    probe_loss: float | None = None
    probe_margin: float | None = None
    chosen_logp: float | None = None
    rejected_logp: float | None = None
    kl: float | None = None
    entropy: float | None = None
    tokens: float | None = None
    answered: float | None = None
    gap: float | None = None


def alarms(rounds: Sequence[Watched], bounds: WatchConfig) -> list[str]:
    """What of the newest round lies outside the bounds, a sentence each.

    Args:
        rounds: round 0 (before any update) and all since, the newest last.
        bounds: what is allowed.

    Example:
        >>> start = Watched(chosen_logp=-0.1, kl=0.0, tokens=60.0, answered=1.0, gap=0.02)
        >>> now = Watched(chosen_logp=-0.3, kl=0.01, tokens=62.0, answered=0.99, gap=0.2)
        >>> for each in alarms([start, now], WatchConfig()):
        ...     print(each)
        accepted solutions have lost 0.200 nats a token (bound 0.05): the update lowers both sides
        the verifier is 0.180 further above accuracy than before training (bound 0.1): it is being fooled
    """
    first, now = rounds[0], rounds[-1]
    found: list[str] = []
    if (fallen := _minus(first.chosen_logp, now.chosen_logp)) is not None and fallen > bounds.chosen_drop:
        found.append(
            f"accepted solutions have lost {fallen:.3f} nats a token (bound {bounds.chosen_drop:g}): the "
            "update lowers both sides"
        )
    if now.kl is not None and now.kl > bounds.kl:
        found.append(
            f"KL to the reference is {now.kl:.3f} nats a token (bound {bounds.kl:g}): the policy has left it"
        )
    if first.entropy and now.entropy is not None and now.entropy < bounds.entropy_share * first.entropy:
        found.append(
            f"entropy fell from {first.entropy:.4f} to {now.entropy:.4f} nats a token (bound "
            f"{bounds.entropy_share:g} of the start): rollouts become all alike"
        )
    if first.tokens and now.tokens:
        ratio = now.tokens / first.tokens
        if not 1 / bounds.length_ratio <= ratio <= bounds.length_ratio:
            found.append(
                f"solutions have {now.tokens:.0f} tokens, {first.tokens:.0f} before training (bound "
                f"{bounds.length_ratio:g} times)"
            )
    if (fallen := _minus(first.answered, now.answered)) is not None and fallen > bounds.answered_drop:
        found.append(
            f"the share with an answer fell from {first.answered:.3f} to {now.answered:.3f} (bound "
            f"{bounds.answered_drop:g} less)"
        )
    if (opened := _minus(now.gap, first.gap)) is not None and opened > bounds.gap_opening:
        found.append(
            f"the verifier is {opened:.3f} further above accuracy than before training (bound "
            f"{bounds.gap_opening:g}): it is being fooled"
        )
    spread = loss_spread(rounds)
    if spread is not None and spread > bounds.loss_spread:
        found.append(
            f"the loss on the probe pairs spreads by {spread:.3f} nats between rounds (bound "
            f"{bounds.loss_spread:g})"
        )
    return found


def loss_spread(rounds: Sequence[Watched]) -> float | None:
    """How unsteady the loop is: the standard deviation of the changes of the probe loss from round to round.

    A loop that falls evenly has 0, whatever its slope; one that jumps up and down has much. The first change,
    from round 0, is the first update's own and is left out.

    Returns:
        In nats; None before there are two changes.

    Example:
        >>> loss_spread([Watched(probe_loss=each) for each in (0.69, 0.6, 0.5, 0.4)])
        0.0
        >>> loss_spread([Watched(probe_loss=each) for each in (0.69, 0.6, 0.7, 0.4)])
        0.2
    """
    losses = [each.probe_loss for each in rounds[1:] if each.probe_loss is not None]
    changes = [later - earlier for earlier, later in itertools.pairwise(losses)]
    if len(changes) < 2:
        return None
    return round(statistics.pstdev(changes), 12)


def _minus(mine: float | None, theirs: float | None) -> float | None:
    return None if mine is None or theirs is None else mine - theirs
