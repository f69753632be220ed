"""Heads: what turns the hidden state at a tag into logits of good and bad.

- `LabelRows` (``lm``): the two label rows of the language model's own head; nothing is added.
- `Classifier` (``classifier``): a small trained head at the same tags, the token-classification twin.
- `Outcome` (``outcome``): one value, trained at the last tag alone, the outcome reward model.

All three give the same pair of logits, so scoring, metrics and reranking do not know which one they have.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from shepherd.errors import ShepherdError
from verifier.config import HeadKind
from verifier.heads.classifier import Classifier
from verifier.heads.lm import LabelRows
from verifier.heads.outcome import Outcome

__all__ = ["Classifier", "Head", "LabelRows", "Outcome", "TrainedHead", "make_head", "rule_of"]

TrainedHead = Classifier | Outcome
"""A head with parameters of its own."""

_TRAINED: dict[str, type[Classifier] | type[Outcome]] = {"classifier": Classifier, "outcome": Outcome}


class Head(Protocol):
    """A head gives two logits a tag; their softmax is the step's score."""

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """Logits of good and bad in fp32, shape ``(n_tags, 2)``, of ``hidden`` (n_tags, d)."""
        ...


def make_head(kind: HeadKind, width: int, std: float) -> TrainedHead:
    """A fresh head in fp32: weights drawn with torch's generator as transformers draws them, biases 0.

    Args:
        kind: ``classifier`` or ``outcome``.
        width: d, of the hidden states.
        std: of the weights (the base's ``initializer_range``).
    """
    if kind not in _TRAINED:
        raise ShepherdError(f"head: {kind} has no weights of its own; expected {' or '.join(_TRAINED)}")
    head = _TRAINED[kind](width)
    with torch.no_grad():
        nn.init.normal_(head.weight, std=std)
        nn.init.zeros_(head.bias)
    return head
