"""What candidates cost: tokens that a generator wrote and a verifier read, and their arithmetic.

A candidate of n costs what an average one of its problem costs, so n of them cost n times that: which n of
the pool are drawn is left to chance, as in the curves. Reading a question is counted with every candidate,
though engines share it: the figure is what the method asks for, not what an engine saves.

A token takes about two operations a parameter (arXiv 2001.08361, section 2.1); attention's own part is left
out, as it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shepherd.records import ProblemPool
from shepherd.steps import split
from verifier.config import PublishedConfig
from verifier.kept import items_of

OPERATIONS = 2
"""A parameter and token of a forward pass: a multiplication and an addition."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over problems, for one candidate; None where it is not known.

    Attributes:
        generated_tokens: that the generator wrote.
        scored_tokens: that the verifier read, the question among them; 0 without a verifier.
        generator_parameters: of the generator.
        verifier_parameters: of the verifier's base; 0 without a verifier.
    """

    generated_tokens: float | None
    scored_tokens: float | None
    generator_parameters: int | None
    verifier_parameters: int | None

    @property
    def operations(self) -> float | None:
        """Floating-point operations for one candidate."""
        sides = (
            (self.generated_tokens, self.generator_parameters),
            (self.scored_tokens, self.verifier_parameters),
        )
        parts = [
            0.0 if tokens == 0 else None if tokens is None or size is None else OPERATIONS * tokens * size
            for tokens, size in sides
        ]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def at(self, n: int) -> dict[str, Any]:
        """Means over problems for n candidates.

        Example:
            >>> Cost(30.0, 50.0, 1000, 2000).at(4)
            {'n': 4, 'generated_tokens': 120.0, 'scored_tokens': 200.0, 'operations': 1040000.0}
        """
        each = (self.generated_tokens, self.scored_tokens, self.operations)
        generated, scored, operations = (None if value is None else n * value for value in each)
        return {"n": n, "generated_tokens": generated, "scored_tokens": scored, "operations": operations}

    def to_json(self, points: Sequence[int]) -> dict[str, Any]:
        """Of one candidate, and of every n of a curve."""
        return {**asdict(self), "points": [self.at(n) for n in points]}


def generated_tokens(pools: Sequence[ProblemPool]) -> float | None:
    """Tokens of a candidate, as the mean over problems of each one's mean; None where a pool does not say."""
    counts = [[each.tokens for each in pool.candidates] for pool in pools]
    if any(count is None for each in counts for count in each):
        return None
    return float(np.mean([np.mean([count for count in each if count is not None]) for each in counts]))


def scored_tokens(
    pools: Sequence[ProblemPool],
    verifier: str,
    *,
    format: str = "auto",
    published: PublishedConfig | None = None,
) -> float:
    """Tokens that a verifier reads for a candidate; the mean over problems of each problem's mean."""
    from verifier.encoder import load_encode

    encode = load_encode(verifier, format=format, published=published)
    means = []
    for question, solutions in items_of(pools):
        pairs = [(question, split(solution).steps) for solution in solutions]
        means.append(float(np.mean([len(each.ids) for each in encode(pairs)])))
    return float(np.mean(means))
