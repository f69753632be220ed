"""Log-probabilities of the two sides of pairs, and what follows from them, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from generation.learn.dpo.rows import PairRow

FloatArray = NDArray[np.float64]


class PairLogps(NamedTuple):
    """Summed log-probabilities (nats) of both sides given the prompt; float64, shape ``(pairs,)`` each."""

    chosen: FloatArray
    rejected: FloatArray


def pair_logps(model: Any, rows: Sequence[PairRow], batch_tokens: int = 8192) -> PairLogps:
    """What a policy makes of pairs.

    Args:
        model: see `generation.learn.logps.row_logps`.
        rows: pairs as tokens.
        batch_tokens: most padded tokens in one pass.
    """
    from generation.learn.logps import row_logps

    sides = [row.chosen_row for row in rows] + [row.rejected_row for row in rows]
    both = row_logps(model, sides, batch_tokens)
    return PairLogps(both[: len(rows)], both[len(rows) :])


def reward_margins(policy: PairLogps, reference: PairLogps, beta: float) -> FloatArray:
    """Implicit reward of the chosen side less that of the rejected one, shape ``(pairs,)``.

    The implicit reward of a text is beta times log(policy / reference) (arXiv 2305.18290, eq. 5).
    """
    return beta * ((policy.chosen - reference.chosen) - (policy.rejected - reference.rejected))


def dpo_loss(policy: PairLogps, reference: PairLogps, beta: float) -> FloatArray:
    """DPO's loss of each pair, shape ``(pairs,)``: -log sigmoid of its margin (arXiv 2305.18290, eq. 7).

    Example:
        >>> one = PairLogps(np.array([-3.0]), np.array([-5.0]))
        >>> [round(float(each), 4) for each in dpo_loss(one, one, 0.1)]
        [0.6931]
        >>> after = PairLogps(np.array([-2.0]), np.array([-14.0]))
        >>> [round(float(each), 4) for each in dpo_loss(after, one, 0.1)]
        [0.3133]
    """
    return np.logaddexp(0.0, -reward_margins(policy, reference, beta))


@dataclass(frozen=True, slots=True)
class PairMeans:
    """Means over pairs, each counted once.

    Attributes:
        chosen: summed log-probability (nats) of the chosen sides.
        rejected: of the rejected ones.
        margin: see `reward_margins`.
        accuracy: share of pairs with a margin above 0; at the reference itself none has.
        loss: see `dpo_loss`, whatever loss was trained.
    """

    chosen: float
    rejected: float
    margin: float
    accuracy: float
    loss: float


def pair_means(policy: PairLogps, reference: PairLogps, beta: float) -> PairMeans:
    """What a policy makes of pairs, against a reference: of one update, or of a fixed held-out set.

    Example:
        >>> first = PairLogps(np.array([-3.0, -3.0]), np.array([-5.0, -1.0]))
        >>> after = PairLogps(np.array([-2.0, -4.0]), np.array([-14.0, -1.0]))
        >>> means = pair_means(after, first, 0.1)
        >>> means.chosen, means.rejected, round(means.margin, 6), means.accuracy
        (-3.0, -7.5, 0.45, 0.5)
    """
    margins = reward_margins(policy, reference, beta)
    return PairMeans(
        chosen=float(policy.chosen.mean()),
        rejected=float(policy.rejected.mean()),
        margin=float(margins.mean()),
        accuracy=float((margins > 0).mean()),
        loss=float(dpo_loss(policy, reference, beta).mean()),
    )
