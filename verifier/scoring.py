"""The two-row scorer: one forward pass gives P(+) at every step's tag of a solution.

A score is softmax over the two label logits at the tag, in fp32. It depends on the solution alone: what is
read beside it, in a packed row or a padded batch, changes the speed, and a score by 1e-5 at most in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eval.scores import Aggregation
from shepherd.steps import split
from verifier.counts import ScoringCounts as ScoringCounts
from verifier.model import TagReader
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution

StepScores = list[float]
Encode = Callable[[Sequence[tuple[str, Sequence[str]]]], Iterable[EncodedSolution]]


class Reader(Protocol):
    """What reads scores at tags in place of a model in this process."""

    @property
    def context(self) -> int:
        """Most tokens it can read."""
        ...

    def scores(self, solutions: Sequence[EncodedSolution], batch_tokens: int) -> list[NDArray[np.float32]]:
        """P(+) at every tag of every solution, in order; steps beyond the context score 0."""
        ...

    def close(self) -> None:
        """Give back what it holds (memory, processes)."""
        ...


@dataclass(slots=True)
class Verifier:
    """A trained verifier, ready to score.

    Attributes:
        reader: body and head, in eval mode; or what reads their scores elsewhere.
        encode: (question, steps) pairs as tokens, each with the positions its scores are read at.
        id: short hash of all that decides a score; scores files carry it.
        name: what the user called it.
        counts: running totals of what was scored.
        rule: the solution score that it was made for: ``min`` over steps, ``last`` for an outcome head.
    """

    reader: TagReader | Reader
    encode: Encode
    id: str
    name: str
    counts: ScoringCounts = field(default_factory=ScoringCounts)
    rule: Aggregation = "min"

    def close(self) -> None:
        """Give back what a reader outside this process holds."""
        if not isinstance(self.reader, TagReader):
            self.reader.close()

    def score(self, question: str, solutions: Sequence[str]) -> list[StepScores]:
        """Step scores of each solution of one question; a solution without steps gets an empty list."""
        return self.score_many([(question, solutions)])[0]

    def score_many(
        self, items: Sequence[tuple[str, Sequence[str]]], batch_tokens: int = 16384
    ) -> list[list[StepScores]]:
        """Step scores of every solution of every question; all are encoded and laid out at once.

        Args:
            items: (question, solution texts), split into steps by `shepherd.steps.split`.
            batch_tokens: most tokens in one forward pass, padding included, where memory has room for them.

        Returns:
            For each item, for each solution, one score in [0, 1] a step.
        """
        pairs = [(question, split(text).steps) for question, texts in items for text in texts]
        found = iter(self._score_pairs(pairs, batch_tokens))
        return [[next(found) for _ in texts] for _, texts in items]

    def score_steps(
        self, pairs: Sequence[tuple[str, Sequence[str]]], batch_tokens: int = 16384
    ) -> list[StepScores]:
        """Step scores of solutions that are cut into steps already, as rows with step labels are.

        Args:
            pairs: (question, steps) of each solution.
            batch_tokens: most tokens in one forward pass, padding included, where memory has room for them.
        """
        return self._score_pairs([(question, tuple(steps)) for question, steps in pairs], batch_tokens)

    def _score_pairs(
        self, pairs: Sequence[tuple[str, tuple[str, ...]]], batch_tokens: int
    ) -> list[StepScores]:
        # Repeated texts of one question are read once and get the very same numbers, so that ties stay ties.
        unique = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        keys = list(unique)
        encoded = list(self.encode(keys))
        if isinstance(self.reader, TagReader):
            scored = score_packed(self.reader, encoded, batch_tokens)
        else:
            scored = self.reader.scores(encoded, batch_tokens)
        beyond = [int((solution.tags >= self.reader.context).sum()) for solution in encoded]
        self._count(pairs, unique, encoded, beyond)
        lists = [[float(f"{score:.8g}") for score in scores.tolist()] for scores in scored]
        return [list(lists[unique[pair]]) for pair in pairs]

    def _count(
        self,
        pairs: Sequence[tuple[str, tuple[str, ...]]],
        unique: dict[tuple[str, tuple[str, ...]], int],
        encoded: Sequence[EncodedSolution],
        beyond: Sequence[int],
    ) -> None:
        old = self.counts
        self.counts = ScoringCounts(
            solutions=old.solutions + len(pairs),
            steps=old.steps + sum(len(steps) for _, steps in pairs),
            tokens=old.tokens + sum(len(solution.ids) for solution in encoded),
            solutions_without_steps=old.solutions_without_steps + sum(not steps for _, steps in pairs),
            steps_beyond_context=old.steps_beyond_context + sum(beyond[unique[pair]] for pair in pairs),
        )
