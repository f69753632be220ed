"""Everything of a DPO update that is fixed before its first step: tokens, order, policies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.rows import EncodedPairs, encode_pairs
from generation.learn.order import sums_of_steps, weighted_order
from generation.learn.policy import policy_id
from generation.learn.tokens import order_digest
from generation.pairs.pair import Pair
from shepherd.errors import ShepherdError


@dataclass(frozen=True, slots=True)
class DpoPlan:
    """What `make_plan` fixes.

    Attributes:
        encoded: the pairs as tokens.
        order: row of each place of the whole update; `batch_size` of them are a forward pass.
        steps: optimizer steps.
        start: id of the policy it begins with.
        reference: id of the policy it is held to.
        seed: of a fresh adapter, of the order and of dropout.
    """

    config: DpoConfig
    encoded: EncodedPairs
    order: NDArray[np.int64]
    steps: int
    start: str
    reference: str
    seed: int

    @property
    def digest(self) -> str:
        """What checkpoints and results must have been made under to be gone on from."""
        sides = (side for row in self.encoded.rows for side in (row.chosen_row, row.rejected_row))
        parts = (order_digest(sides, self.order), self.start, self.reference, str(self.seed))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def rows_a_step(self) -> int:
        """Pairs in an optimizer step."""
        return self.config.batch_size * self.config.accumulation

    @property
    def checkpoint_every(self) -> int:
        """Optimizer steps between checkpoints: as configured, else a tenth of the update."""
        return self.config.checkpoint_every or -(-self.steps // 10)

    @property
    def tokens(self) -> list[int]:
        """Of each optimizer step, padding not counted."""
        tokens = [row.tokens for row in self.encoded.rows]
        return sums_of_steps([tokens[index] for index in self.order], self.rows_a_step)

    @property
    def pairs_of_steps(self) -> list[int]:
        """Pairs in each optimizer step: the last one may hold fewer."""
        return sums_of_steps([1] * len(self.order), self.rows_a_step)

    def line(self) -> str:
        """For a run's log."""
        counts = ", ".join(f"{key} {value:,}" for key, value in self.encoded.counts().items())
        return f"{counts}; {self.steps:,} steps from policy {self.start}, reference {self.reference}"


def make_plan(
    pairs: Sequence[Pair],
    weights: Sequence[float],
    config: DpoConfig,
    tokenizer: Any,
    *,
    name: str,
    start: Path | None,
    reference: Path | None,
    seed: int,
) -> DpoPlan:
    """Encode pairs and fix their order; no model is loaded. Arguments as of `generation.learn.dpo.update`.

    Raises:
        ShepherdError: where no pair can be learnt from, or an adapter is not there.
    """
    encoded = encode_pairs(pairs, tokenizer, name=name, max_length=config.max_length)
    if len(weights) != len(pairs):
        raise ValueError(f"{len(pairs)} pairs and {len(weights)} weights")
    kept = np.array(weights, dtype=np.float64)[encoded.kept]
    if not (kept >= 0).all() or not np.isfinite(kept).all() or not kept.any():
        raise ShepherdError(
            f"the weights of {len(kept):,} pairs must be finite, at least 0 and not all 0; found "
            f"{kept.min():g} to {kept.max():g}"
        )
    rows_a_step = config.batch_size * config.accumulation
    order = weighted_order(
        encoded.lengths,
        kept,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        wanted=None if config.steps is None else config.steps * rows_a_step,
    )
    return DpoPlan(
        config=config,
        encoded=encoded,
        order=order,
        steps=-(-len(order) // rows_a_step),
        start=policy_id(name, start),
        reference=policy_id(name, reference),
        seed=seed,
    )
