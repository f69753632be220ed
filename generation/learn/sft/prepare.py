"""Everything of a fine-tuning that is fixed before its first step: rows, tokens, order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.learn.order import make_order
from generation.learn.sft.config import SftConfig
from generation.learn.sft.rows import EncodedSolutions, encode_rows
from generation.learn.sft.solutions import Solved, read_solved
from generation.learn.tokens import order_digest
from shepherd.errors import ShepherdError
from verifier import heldout
from verifier import model as models
from verifier.data.contaminated import Contamination, clean_rows


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` fixes.

    Attributes:
        read: what the data held.
        contamination: which training questions also stand among the evaluation problems.
        order: row of each place of the whole run; `batch_size` of them are a forward pass.
        steps: optimizer steps of the whole run.
    """

    config: SftConfig
    tokenizer: Any
    read: Solved
    contamination: Contamination
    train: EncodedSolutions
    heldout: EncodedSolutions
    order: NDArray[np.int64]
    steps: int

    @property
    def checkpoint_every(self) -> int:
        """Optimizer steps between checkpoints: as configured, else a tenth of the run."""
        return self.config.checkpoint_every or -(-self.steps // 10)

    @property
    def plan(self) -> str:
        """What a checkpoint must have been made under to be gone on from."""
        return order_digest(self.train.rows, self.order)

    def counts(self) -> dict[str, Any]:
        """What a log, a dry run and the result say of the data."""
        return {
            "read": self.read.counts(),
            "contamination": self.contamination.to_json(),
            "train": self.train.counts(),
            "heldout": self.heldout.counts(),
            "steps": self.steps,
            "tokens": int(self.train.lengths[self.order].sum()),
        }

    def lines(self) -> Iterator[str]:
        """The same for a run's log."""
        counts = self.counts()
        for name in ("read", "train", "heldout"):
            yield f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in counts[name].items())
        yield from self.contamination.lines()
        yield f"plan: {self.steps:,} steps, {int(self.train.lengths[self.order].sum()):,} tokens"


def prepare(config: SftConfig) -> Prepared:
    """Read solutions, hold questions out, encode, and fix the order; no model is loaded."""
    solved = read_solved(config)
    rows, contamination = clean_rows(solved.rows, solved.questions, config)
    train, held = heldout.split_by_question(rows, config.eval_fraction, config.seed, config.eval_limit)
    tokenizer = models.load_tokenizer(config.base, trust_remote_code=config.trust_remote_code)
    encoded, held_encoded = (
        encode_rows(
            rows,
            tokenizer,
            config.prompt,
            tags=config.tags,
            name=config.base,
            max_length=config.max_length,
        )
        for rows in (train, held)
    )
    if not encoded.rows:
        raise ShepherdError(f"no training row is left ({encoded.counts()}); raise max_length or add rows")
    order = make_order(encoded.lengths, epochs=config.epochs, batch_size=config.batch_size, seed=config.seed)
    rows_a_step = config.batch_size * config.accumulation
    steps = -(-len(order) // rows_a_step)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    return Prepared(
        config, tokenizer, solved, contamination, encoded, held_encoded, order[: steps * rows_a_step], steps
    )
