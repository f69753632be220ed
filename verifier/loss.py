"""The loss at tags: cross-entropy against the label as a distribution over good and bad, or pairs of values.

A loss has two halves: `values` reads what it needs of each supervised tag, `losses` makes summands of that.
Training takes the mean over a step's summands, evaluation over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from eval.steps import THRESHOLD
from shepherd.errors import ShepherdError
from verifier.batches import EncodedRows
from verifier.heads import LabelRows
from verifier.model import TagReader


def tag_log_probabilities(reader: TagReader, hidden: Tensor, loss: str) -> Tensor:
    """Log P(good), log P(bad) at each tag, shape ``(n_tags, 2)``, fp32.

    ``vocab`` normalises over the whole vocabulary (arXiv 2312.08935: a language model that writes ``+`` or
    ``-``), ``pair`` over the two labels alone, as the score does.
    """
    if loss == "vocab":
        if not isinstance(reader.head, LabelRows):
            raise ShepherdError("loss: vocab needs the language model's own head; use --set loss=pair")
        return log_softmax(reader.head.vocab_logits(hidden), -1)[:, reader.head.labels]
    return log_softmax(reader.pair_logits(hidden), -1)


def step_losses(log_probabilities: Tensor, targets: Tensor, class_weights: tuple[float, float]) -> Tensor:
    """Cross-entropy a step, shape ``(n_tags,)``: soft labels are targets as they are, never rounded.

    Args:
        log_probabilities: log P(good), log P(bad); shape ``(n_tags, 2)``.
        targets: P(step is correct), in [0, 1]; shape ``(n_tags,)``.
        class_weights: weight of good and of bad.
    """
    if not len(targets):
        raise ShepherdError("a batch has no supervised step: every label of its rows is null")
    good, bad = class_weights
    return -(good * targets * log_probabilities[:, 0] + bad * (1 - targets) * log_probabilities[:, 1])


def pair_losses(values: Tensor, targets: Tensor, questions: Sequence[str]) -> Tensor:
    """Bradley-Terry a question: the mean of -log sigmoid(s right - s wrong) over its pairs of solutions.

    Eq. 1 of arXiv 2203.02155, with right above wrong as the order; questions without a pair are left out.

    Args:
        values: s of each solution; shape ``(n_solutions,)``.
        targets: P(solution is right), in [0, 1]; right from 0.5 on; shape ``(n_solutions,)``.
        questions: the question of each.

    Returns:
        Shape ``(n_questions_with_pairs,)``.

    Example:
        >>> values, targets = torch.tensor([1.0, 1.0, 9.0]), torch.tensor([1.0, 0.0, 1.0])
        >>> pair_losses(values, targets, ["q", "q", "r"]).tolist()
        [0.6931471824645996]
    """
    right = targets >= THRESHOLD
    losses = []
    for mine in _indices(questions):
        good, bad = values[mine][right[mine]], values[mine][~right[mine]]
        if len(good) and len(bad):
            losses.append(-logsigmoid(good[:, None] - bad[None, :]).mean())
    if not losses:
        raise ShepherdError("a batch has no pair: no question in it has a right and a wrong solution")
    return torch.stack(losses)


def class_weights(rows: EncodedRows, weighting: str) -> tuple[float, float]:
    """Weights of good and bad; ``balanced`` gives both classes the same total weight, 1 a step on average."""
    if weighting == "none":
        return 1.0, 1.0
    labels = rows.flat.step_labels.astype(np.float64)
    labels = labels[np.isfinite(labels)]
    good, bad = float(labels.sum()), float((1 - labels).sum())
    if min(good, bad) == 0:
        raise ShepherdError("class_weighting: balanced needs steps of both classes; all labels are alike")
    return len(labels) / (2 * good), len(labels) / (2 * bad)


class Loss(Protocol):
    """What training minimises the mean of."""

    @property
    def couples(self) -> bool:
        """Does a summand depend on several rows of a batch, so that they are to be at hand together?"""
        ...

    def count(self, targets: Tensor, questions: Sequence[str]) -> int:
        """How many summands `losses` has; known before anything is read."""
        ...

    def values(self, reader: TagReader, hidden: Tensor) -> Tensor:
        """What is needed of each tag; shape ``(n_tags, …)``."""
        ...

    def losses(self, values: Tensor, targets: Tensor, questions: Sequence[str]) -> Tensor:
        """The summands."""
        ...


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Cross-entropy at every supervised tag; `kind` and `class_weights` as in the functions above."""

    kind: str
    class_weights: tuple[float, float] = (1.0, 1.0)

    @property
    def couples(self) -> bool:
        """Every tag stands for itself."""
        return False

    def count(self, targets: Tensor, questions: Sequence[str]) -> int:
        """One a tag."""
        return len(targets)

    def values(self, reader: TagReader, hidden: Tensor) -> Tensor:
        """Log-probabilities of good and bad."""
        return tag_log_probabilities(reader, hidden, self.kind)

    def losses(self, values: Tensor, targets: Tensor, questions: Sequence[str]) -> Tensor:
        """Cross-entropy a tag."""
        return step_losses(values, targets, self.class_weights)


@dataclass(frozen=True, slots=True)
class PairLoss:
    """Bradley-Terry between the solutions of each question."""

    @property
    def couples(self) -> bool:
        """The solutions of a question are held against each other."""
        return True

    def count(self, targets: Tensor, questions: Sequence[str]) -> int:
        """One a question with a right and a wrong solution."""
        right = targets >= THRESHOLD
        return sum(bool(right[mine].any() and not right[mine].all()) for mine in _indices(questions))

    def values(self, reader: TagReader, hidden: Tensor) -> Tensor:
        """S of each solution."""
        logits = reader.pair_logits(hidden)
        return logits[:, 0] - logits[:, 1]

    def losses(self, values: Tensor, targets: Tensor, questions: Sequence[str]) -> Tensor:
        """The mean over the pairs of each question."""
        return pair_losses(values, targets, questions)


def _indices(questions: Sequence[str]) -> list[list[int]]:
    """Places of each question, in the order of their first ones."""
    found: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        found.setdefault(question, []).append(index)
    return list(found.values())
