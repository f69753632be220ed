"""A merged language model and a head of two rows as one token-classification model."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shepherd.errors import ShepherdError
from verifier.export.description import CLASSES
from verifier.heads import Head


class Rows(NamedTuple):
    """A head that is linear in the hidden state: ``weight`` (2, d) and ``bias`` (2,), good first, fp32."""

    weight: Tensor
    bias: Tensor


@torch.no_grad()
def rows_of(head: Head, width: int, device: torch.device) -> Rows:
    """Read a head's two rows by asking it about the unit vectors: any head that is linear gives them.

    Args:
        head: `LabelRows` or a trained head of two rows.
        width: d, of the hidden states.
        device: where the head lies.
    """
    bias = head.pair_logits(torch.zeros(1, width, device=device))[0]
    weight = (head.pair_logits(torch.eye(width, device=device)) - bias).T
    return Rows(weight.contiguous().cpu(), bias.cpu())


def token_classifier(merged: Any, rows: Rows) -> Any:
    """Put a merged causal language model's body under a classifier of two rows.

    Args:
        merged: the language model; its body is shared, its output head left behind.
        rows: good first; the model's classes are in the order of `CLASSES`.

    Returns:
        A ``…ForTokenClassification`` of transformers, in the body's dtype.
    """
    from transformers import AutoModelForTokenClassification

    config = copy.deepcopy(merged.config)
    config.id2label = dict(enumerate(CLASSES))
    config.label2id = {name: number for number, name in enumerate(CLASSES)}
    config.classifier_dropout = 0.0
    config.tie_word_embeddings = False  # there is no output head to tie any more
    try:
        with torch.device("meta"):  # all of its weights are given; none is drawn
            model = AutoModelForTokenClassification.from_config(config)
    except ValueError as error:
        raise ShepherdError(
            f"{type(merged).__name__}: transformers has no token classification for this architecture, so it "
            "cannot be exported; score with the verifier folder itself"
        ) from error
    body = getattr(merged, merged.base_model_prefix)
    setattr(model, model.base_model_prefix, body)
    order = [("good", "bad").index(name) for name in CLASSES]
    score = nn.Linear(rows.weight.shape[1], len(CLASSES))
    score.load_state_dict({"weight": rows.weight[order], "bias": rows.bias[order]})
    model.score = score.to(body.dtype)
    return model.eval().requires_grad_(False)
