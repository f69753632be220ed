"""What a DPO update did, as it is kept in the update's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generation.learn.dpo.logps import PairMeans
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json

RESULT = "update.json"


@dataclass(frozen=True, slots=True)
class DpoResult:
    """What an update did.

    Attributes:
        folder: holds the adapter, as ``folder / "adapter"``; give either to ``shepherd generate``.
        policy: id of the policy it made.
        start: id of the policy it began with.
        reference: id of the policy it was held to.
        plan: hash of rows, order, start and reference.
        steps: optimizer steps.
        counts: pairs learnt from and their tokens, and pairs left out by reason.
        first_loss: of training, the mean over the pairs of the first tenth of the steps.
        last_loss: over those of the last tenth.
        before: all the pairs learnt from, each once, by the policy at the start.
        after: the same by the policy that was made.
        tokens_per_s: prompts and sides, padding not counted; 0 where a resume had no step left.
    """

    folder: Path
    policy: str
    start: str
    reference: str
    plan: str
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

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DpoResult:
        """Read what `to_json` gave."""
        means = {key: PairMeans(**data[key]) for key in ("before", "after")}
        return cls(**{**data, "folder": Path(data["folder"]), **means})


def write_result(result: DpoResult) -> None:
    """Keep a result, after everything else of the update."""
    write_json(result.folder / RESULT, result.to_json())


def read_result(folder: Path, plan: str) -> DpoResult | None:
    """The result of an update that was finished before; None where there is none.

    Args:
        folder: of the update.
        plan: the result must be one of this plan.

    Raises:
        ShepherdError: where it is another's.
    """
    if not (folder / RESULT).exists():
        return None
    data = read_json(folder / RESULT)
    data.pop("schema_version", None)
    result = DpoResult.from_json({**data, "folder": str(folder)})
    if result.plan != plan:
        raise ShepherdError(
            f"{folder / RESULT}: made from other pairs, weights or policies than it is asked for now; put "
            "them back, or start a new run"
        )
    return result
