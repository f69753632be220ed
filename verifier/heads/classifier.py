"""The classifier head: token classification with two classes, read at the tags."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Linear):
    """Logits of good (first) and bad by two trained rows and a bias, in fp32.

    It is the head of transformers' ``…ForTokenClassification``, read where the tags stand; `shepherd` trains
    it together with the adapter.

    Args:
        width: d, of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 2, dtype=torch.float32)

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """Logits of good and bad, shape ``(n_tags, 2)``, of ``hidden`` (n_tags, d)."""
        logits: Tensor = self(hidden.float())
        return logits
