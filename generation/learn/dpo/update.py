"""One DPO update: a policy is moved towards the accepted sides of pairs, with TRL's DPOTrainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.logps import PairMeans
from generation.pairs.pair import Pair
from shepherd.runs import Run

ADAPTER, LOGPS, STEPS, RESULT = "adapter", "logps.json", "steps.jsonl", "update.json"


@dataclass(frozen=True, slots=True)
class DpoResult:
    """What an update did.

    Attributes:
        folder: holds the adapter, as ``folder / "adapter"``; give either to ``shepherd generate``.
        policy: id of the policy it made.
        start: id of the policy it began with.
        reference: id of the policy it was held to.
        steps: optimizer steps.
        counts: pairs learnt from, and those left out by reason.
        first_loss: of training, the mean over the first tenth of the steps.
        last_loss: over the last tenth.
        before: all the pairs learnt from, each once, by the policy at the start.
        after: the same by the policy that was made.
        tokens_per_s: prompts and sides, padding not counted.
    """

    folder: Path
    policy: str
    start: str
    reference: str
    steps: int
    counts: dict[str, int]
    first_loss: float
    last_loss: float
    before: PairMeans
    after: PairMeans
    tokens_per_s: float

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "folder": str(self.folder)}


def update(
    pairs: Sequence[Pair],
    weights: Sequence[float],
    config: DpoConfig,
    *,
    name: str,
    start: Path | None,
    reference: Path | None,
    folder: Path,
    run: Run,
    seed: int,
    device: str = "auto",
    trust_remote_code: bool = False,
    round: int = 0,
) -> DpoResult:
    """Train an adapter into ``folder / "adapter"``; see the module."""
    raise NotImplementedError
