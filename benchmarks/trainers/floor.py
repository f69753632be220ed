"""What a training has to cost at least on this machine: operations that none can do without, at its rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from scorers.rate import matmul_rate
from torch import nn
from trainers.rows import count, rows_of

from verifier.packing.passes import Pass, Work, plan_passes
from verifier.prepare import Prepared
from verifier.training import Trainer


class Floor(NamedTuple):
    """A model on a machine.

    Attributes:
        work: of a forward pass through the frozen trunk, the adapter left out.
        head: operations of a tag, forward and backward.
        rate: operations a second at which this machine multiplies matrices of the model's own shapes.
    """

    work: Work
    head: float
    rate: float

    def seconds(self, prepared: Prepared) -> float:
        """The least that a plan's steps can take."""
        return count(prepared).floor(self.work, self.head) / self.rate

    def passes(self, prepared: Prepared, *, packs: bool) -> list[Pass]:
        """Those in which our trainer reads a plan's steps."""
        return [
            each
            for part in rows_of(prepared)
            for each in plan_passes(
                [row.ids for row in part],
                prepared.config.tokens_a_pass(prepared.config.device),
                self.work,
                packs=packs,
            )
        ]

    def operations(self, passes: Iterable[Pass]) -> float:
        """What some passes have to compute as they are, forward and backward, the head left out."""
        both = Work(2 * self.work.token, 3 * self.work.pair)
        return sum(each.work(both) for each in passes)


def floor_of(trainer: Trainer) -> Floor:
    """The floor of a trainer's model; its matrices are multiplied once more to measure the rate."""
    reader = trainer.reader
    adapter = sum(
        module.in_features * module.out_features
        for name, module in reader.body.named_modules()
        if isinstance(module, nn.Linear) and "lora_" in name
    )
    config = reader.model.config
    rows = config.vocab_size if trainer.config.loss == "vocab" else 2
    return Floor(
        Work(reader.work.token - 2.0 * adapter, reader.work.pair),
        4.0 * rows * config.hidden_size,
        matmul_rate(reader.model),
    )


def timed(prepared: Prepared) -> Prepared:
    """The steps whose time is taken: all but the first."""
    return replace(prepared, plan=prepared.plan[1:], steps=prepared.steps - 1)
