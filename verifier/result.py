"""What a training needs to be told of, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol


class TrainingRun(Protocol):
    """What training needs of `shepherd.runs.Run`."""

    path: Path

    def log(self, message: str) -> None:
        """Write to the run's log."""

    def metric(self, **values: Any) -> None:
        """Append to the run's metrics."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training gave: the verifier's folder and id, and how good it is on held-out questions.

    Attributes:
        folder: the verifier's.
        verifier_id: its id.
        head: its kind.
        steps: optimizer steps done.
        best_step: the step whose adapter was kept.
        tokens_per_s: read in this process, padding not counted.
        train_s: seconds in optimizer steps, evaluations not counted; those before a resume are.
        peak_memory_bytes: most memory held: CUDA's where that trains, else of the whole process.
        trainable_parameters: adapter and head.
        ranks: of each layer, where AdaLoRA handed them out.
        metrics: on held-out questions; empty where none are.
        counts: of rows, steps and tokens.
    """

    folder: Path
    verifier_id: str
    head: str
    steps: int
    best_step: int
    tokens_per_s: float
    train_s: float
    peak_memory_bytes: int
    trainable_parameters: int
    ranks: dict[str, int] | None
    metrics: dict[str, Any]
    counts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "folder": str(self.folder)}


def one_line(metrics: Mapping[str, Any]) -> str:
    """Metrics for a log line, each with its baseline.

    Example:
        >>> one_line({"loss": 0.5, "auc": {"value": 0.91, "baseline": 0.8}, "counts": {"rows": 3}})
        'loss 0.5000, auc 0.910 (baseline 0.800)'
    """
    parts = []
    for key, value in metrics.items():
        if isinstance(value, float):
            parts.append(f"{key} {value:.4f}")
        elif isinstance(value, Mapping) and value.get("value") is not None:
            baseline = value.get("baseline")
            aside = "" if baseline is None else f" (baseline {baseline:.3f})"
            parts.append(f"{key} {value['value']:.3f}{aside}")
    return ", ".join(parts)
