"""The outcome head: one value s of the solution so far, as the pair (s, 0)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Outcome(nn.Linear):
    """An outcome reward model's scalar: P(the solution is right) = sigmoid(s), in fp32.

    As logits it is the pair (s, 0), whose softmax is sigmoid(s). It can be read at every tag (the value of a
    prefix, as in arXiv 2110.14168, section 4.2) and is trained at the last one alone.

    Args:
        width: d, of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, dtype=torch.float32)

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """The pair (s, 0), shape ``(n_tags, 2)``, of ``hidden`` (n_tags, d)."""
        value: Tensor = self(hidden.float())
        return torch.cat([value, torch.zeros_like(value)], dim=-1)
