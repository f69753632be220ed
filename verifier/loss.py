"""The loss at tags: cross-entropy against the label as a distribution over good and bad."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from shepherd.errors import ShepherdError
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
