"""The loss at tags against what it is by definition."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shepherd.errors import ShepherdError
from verifier.heads import LabelRows
from verifier.loss import class_weights, step_losses, tag_log_probabilities
from verifier.tags import resolve


def _reader() -> Any:
    """A head of five words; good is 1, bad is 3; the hidden states are its logits."""
    linear = torch.nn.Linear(5, 5, bias=False)
    torch.nn.init.eye_(linear.weight)
    head = LabelRows(linear, 1, 3)
    return SimpleNamespace(head=head, pair_logits=head.pair_logits)


LOGITS = torch.tensor([[0.0, 2.0, 1.0, -1.0, 0.5], [3.0, 0.0, 0.0, 1.0, 0.0]])


def test_vocab_is_cross_entropy_over_all_words() -> None:
    logs = tag_log_probabilities(_reader(), LOGITS, "vocab")
    expected = torch.nn.functional.cross_entropy(LOGITS, torch.tensor([1, 3]), reduction="none")
    torch.testing.assert_close(step_losses(logs, torch.tensor([1.0, 0.0]), (1.0, 1.0)), expected)


def test_pair_is_cross_entropy_over_the_two_labels() -> None:
    logs = tag_log_probabilities(_reader(), LOGITS, "pair")
    losses = step_losses(logs, torch.tensor([1.0, 0.0]), (1.0, 1.0))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-3)), math.log(1 + math.exp(-1))])


@pytest.mark.parametrize("loss", ["vocab", "pair"])
def test_soft_labels_are_target_distributions(loss: str) -> None:
    logs = tag_log_probabilities(_reader(), LOGITS, loss)
    soft = step_losses(logs, torch.tensor([0.25, 0.25]), (1.0, 1.0))
    hard_good = step_losses(logs, torch.tensor([1.0, 1.0]), (1.0, 1.0))
    hard_bad = step_losses(logs, torch.tensor([0.0, 0.0]), (1.0, 1.0))
    torch.testing.assert_close(soft, 0.25 * hard_good + 0.75 * hard_bad)


def test_a_soft_label_is_learnt_as_it_is() -> None:
    """Rounded to 0 or 1, as int(label) once did, the optimum would lie at the border."""
    logit = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=2.0)
    for _ in range(200):
        optimizer.zero_grad()
        logs = torch.log_softmax(torch.stack([logit, torch.zeros(1)], -1), -1)
        step_losses(logs, torch.tensor([0.7]), (1.0, 1.0)).sum().backward()
        optimizer.step()
    assert float(torch.sigmoid(logit.detach())) == pytest.approx(0.7, abs=1e-4)


def test_class_weights_balance_the_classes(tiny: Any, tiny_tokenizer: Any, encode_rows: Any) -> None:
    rows = encode_rows(tiny.make_rows(80), tiny_tokenizer, resolve(tiny_tokenizer), 512)
    labels = [label for row in rows.rows for label in row.labels.tolist()]
    good, bad = class_weights(rows, "balanced")
    share = sum(labels) / len(labels)
    assert good * share == pytest.approx(bad * (1 - share)) == pytest.approx(0.5)
    assert class_weights(rows, "none") == (1.0, 1.0)
    alike = replace(rows, rows=[row for row in rows.rows if row.labels.min() == 1.0])
    with pytest.raises(ShepherdError, match="both classes"):
        class_weights(alike, "balanced")


def test_no_supervised_step_is_an_error_and_never_nan() -> None:
    with pytest.raises(ShepherdError, match="no supervised step"):
        step_losses(torch.zeros(0, 2), torch.zeros(0), (1.0, 1.0))
