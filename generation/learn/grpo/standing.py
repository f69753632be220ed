"""Where a run stands between two generation batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from generation.learn.grpo.evaluations import Evaluation


@dataclass(slots=True)
class Standing:
    """Where a run stands at the end of a generation batch; all of it goes into the checkpoint.

    Attributes:
        batch: generation batches learnt from.
        place: problems asked so far, in the order of the run.
        rollouts: completions sampled so far.
        fates: groups sampled so far, by what became of them.
        evaluations: on the validation problems, in order.
        stopped: what a sentinel said, where one ended the run.
    """

    batch: int = 0
    place: int = 0
    rollouts: int = 0
    fates: dict[str, int] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    stopped: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data, for a checkpoint."""
        return asdict(self) | {"evaluations": [list(each) for each in self.evaluations]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Standing:
        """Read it back from a checkpoint."""
        return cls(**{**row, "evaluations": [Evaluation(*each) for each in row["evaluations"]]})
