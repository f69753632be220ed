"""Log-probabilities of given tokens, and how far a policy is from another along given texts.

The body of the model reads whole rows; the output head only the positions that predict what is asked for, a
few thousand at a time, so that no logits of (batch, tokens, vocabulary) are ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.learn.tokens import TokenRow
from shepherd.errors import ShepherdError
from verifier.adapter import find_adapter
from verifier.model import first_line

FloatArray = NDArray[np.float64]

BATCH_TOKENS = 8192
_HEAD_NUMBERS = 1 << 24
"""Logits held at once: 64 MiB in fp32."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a policy is from its reference along texts, in nats a token, means over all tokens.

    Attributes:
        kl: KL(policy || reference) of the next token, >= 0 up to rounding.
        entropy: of the policy's next token.
        tokens: the mean is over.
    """

    kl: float
    entropy: float
    tokens: int


@torch.no_grad()
def row_logps(model: Any, rows: Sequence[TokenRow], batch_tokens: int = BATCH_TOKENS) -> FloatArray:
    """Summed log-probability (nats) of each row's tokens from its `start` on, given those before.

    Args:
        model: a causal language model, bare or with an adapter; it reads without dropout.
        rows: tokens.
        batch_tokens: most padded tokens in one pass; a longer row is a pass of its own.

    Returns:
        float64, shape ``(rows,)``, in the order of the rows.

    Raises:
        ShepherdError: for an architecture whose logits are not hidden states times head.
    """
    sums = np.zeros(len(rows))
    with _reading(model):
        _check_head(model, rows)
        for batch in _batches(rows, batch_tokens, _device(model)):
            hidden = _hidden(model, batch)
            for part in _parts(model, len(batch.targets)):
                logps = _logps(model, hidden[part])
                taken = logps.gather(-1, batch.targets[part, None])[:, 0]
                np.add.at(sums, batch.row_of[part], taken.double().cpu().numpy())
    return sums


@torch.no_grad()
def policy_divergence(
    model: Any, reference: Path | str | None, rows: Sequence[TokenRow], batch_tokens: int = BATCH_TOKENS
) -> Divergence:
    """KL(policy || reference) and the policy's entropy at every token of texts, over the whole vocabulary.

    Exact for the given texts; an estimate of the policies' own divergence as far as the texts are the
    policy's.

    Args:
        model: a peft model with the policy as its adapter.
        reference: a folder with another adapter of the same base; None for the base, adapter off.
        rows: the texts; tokens from `start` on count.
        batch_tokens: as for `row_logps`.
    """
    kl = entropy = 0.0
    tokens = 0
    with _reading(model), other_policy(model, reference) as other:
        _check_head(model, rows)
        for batch in _batches(rows, batch_tokens, _device(model)):
            mine = _hidden(model, batch)
            with other():
                theirs = _hidden(model, batch)
            for part in _parts(model, len(batch.targets)):
                logps = _logps(model, mine[part])
                entropy += float(-(logps.exp() * logps).sum(-1).double().sum())
                apart = logps.exp() * (logps - _logps(model, theirs[part]))
                kl += float(apart.sum(-1).double().sum())
            tokens += len(batch.targets)
    if not tokens:
        raise ValueError("no tokens to measure along")
    return Divergence(kl / tokens, entropy / tokens, tokens)


@contextmanager
def other_policy(
    model: Any, adapter: Path | str | None
) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
    """Let a peft model act as another policy where asked to; its own adapter comes back unchanged.

    Args:
        model: base and adapter ``default``.
        adapter: the other policy's: a folder, or a run that holds one; None for the base alone.

    Yields:
        What to call for a context in which the model is the other policy.

    Raises:
        ShepherdError: where the other adapter does not fit the base.
    """
    if adapter is None:
        yield model.disable_adapter
        return
    folder, name = find_adapter(str(adapter)), "other"
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}

    @contextmanager
    def acting() -> Iterator[None]:
        model.set_adapter(name)
        try:
            yield
        finally:
            model.set_adapter("default")

    try:
        _load(model, folder, name)
        yield acting
    finally:
        if name in model.peft_config:
            model.delete_adapter(name)
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in trained


def _load(model: Any, folder: Path, name: str) -> None:
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws an adapter before it reads one
            model.load_adapter(str(folder), adapter_name=name)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ShepherdError(
            f"adapter {folder}: does not fit the model of the trained adapter: {first_line(error)}"
        ) from error


@dataclass(frozen=True, slots=True)
class _Batch:
    """Right-padded ids; flat positions that predict, what they predict, and the row of each."""

    ids: Tensor
    at: Tensor
    targets: Tensor
    row_of: NDArray[np.int64]


def _batches(rows: Sequence[TokenRow], batch_tokens: int, device: torch.device) -> Iterator[_Batch]:
    """Rows from long to short, so that padding is little; padding is never seen (causal, on the right)."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index].ids))
    while order:
        width = len(rows[order[0]].ids)
        size = max(1, batch_tokens // width)
        part, order = order[:size], order[size:]
        ids = np.zeros((len(part), width), dtype=np.int64)
        at, targets, row_of = [], [], []
        for line, index in enumerate(part):
            row = rows[index]
            ids[line, : len(row.ids)] = row.ids
            at.append(np.arange(row.start - 1, len(row.ids) - 1) + line * width)
            targets.append(np.array(row.ids[row.start :], dtype=np.int64))
            row_of.append(np.full(len(row.ids) - row.start, index))
        yield _Batch(
            torch.from_numpy(ids).to(device),
            torch.from_numpy(np.concatenate(at)).to(device),
            torch.from_numpy(np.concatenate(targets)).to(device),
            np.concatenate(row_of),
        )


@contextmanager
def _reading(model: Any) -> Iterator[None]:
    """The model without dropout, for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _device(model: Any) -> torch.device:
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _hidden(model: Any, batch: _Batch) -> Tensor:
    """Hidden states (positions, d) that predict what is asked for."""
    causal = _causal(model)
    body = getattr(causal, causal.base_model_prefix, causal)
    states: Tensor = body(input_ids=batch.ids, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[batch.at]


def _logps(model: Any, hidden: Tensor) -> Tensor:
    """Log-probabilities in fp32, shape (positions, vocabulary)."""
    logits: Tensor = _causal(model).get_output_embeddings()(hidden)
    return logits.float().log_softmax(-1)


def _parts(model: Any, positions: int) -> Iterator[slice]:
    size = max(1, _HEAD_NUMBERS // int(_causal(model).get_output_embeddings().weight.shape[0]))
    for start in range(0, positions, size):
        yield slice(start, min(start + size, positions))


def _check_head(model: Any, rows: Sequence[TokenRow]) -> None:
    """Compare with the model's own logits, once, on the shortest row: some models scale or cap theirs."""
    if not rows:
        return
    row = min(rows, key=lambda each: len(each.ids))
    (batch,) = _batches([row], len(row.ids), _device(model))
    causal = _causal(model)
    own = causal(input_ids=batch.ids, use_cache=False).logits[0, batch.at]
    exact = own.dtype == torch.float32
    own = own.float().softmax(-1).gather(-1, batch.targets[:, None])
    mine = _logps(model, _hidden(model, batch)).exp().gather(-1, batch.targets[:, None])
    worst = float((own - mine).abs().max())
    if worst > (1e-4 if exact else 0.05):
        raise ShepherdError(
            f"{type(causal).__name__}: its logits are not hidden states times head (probabilities differ by "
            f"{worst:.3f}); this architecture is not supported"
        )
