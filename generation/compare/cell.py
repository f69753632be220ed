"""One cell of a comparison: a generator with a verifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eval.report import RerankReport
from generation.compare.cost import Cost
from generation.config import AnswersConfig


@dataclass(frozen=True, slots=True)
class Cell:
    """One generator with one verifier.

    Attributes:
        generator: its name.
        verifier: its name, `ALONE`, or `GIVEN`.
        report: on the common problems.
        cost: of a candidate.
        answers: how the candidates' answers were read and compared.
    """

    generator: str
    verifier: str
    report: RerankReport
    cost: Cost
    answers: AnswersConfig

    def to_json(self) -> dict[str, Any]:
        """The cell as ``results.json`` has it."""
        points = [n for n, _ in self.report.curves["majority"]]
        return {
            "generator": self.generator,
            "verifier": self.verifier,
            "report": self.report.to_json(),
            "cost": self.cost.to_json(points),
            "answers": self.answers.model_dump(mode="json"),
        }
