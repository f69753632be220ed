"""The language model's own head: two of its rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shepherd.errors import ShepherdError


class LabelRows:
    """The two label rows of a language model's output head (Math-Shepherd, arXiv 2312.08935).

    Args:
        linear: the output head, (vocabulary, d).
        good_id: token of a right step.
        bad_id: token of a wrong step.
    """

    def __init__(self, linear: nn.Module, good_id: int, bad_id: int) -> None:
        if not isinstance(linear, nn.Linear) or not linear.weight.dtype.is_floating_point:
            raise ShepherdError(
                "the output head is quantized or carries an adapter, so its label rows cannot be read; "
                "keep it out of lora.targets"
            )
        self.linear = linear
        self.labels = torch.tensor([good_id, bad_id], device=linear.weight.device)

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """Two rows of the head instead of all."""
        logits: Tensor = hidden.float() @ self.linear.weight[self.labels].float().T
        if self.linear.bias is not None:
            logits = logits + self.linear.bias[self.labels].float()
        return logits

    def vocab_logits(self, hidden: Tensor) -> Tensor:
        """Logits over the whole vocabulary in fp32, shape ``(n_tags, vocabulary)``."""
        logits: Tensor = self.linear(hidden.to(self.linear.weight.dtype))
        return logits.float()
