"""How a token is drawn: one number in [0, 1) a token, from a stream that belongs to the candidate alone.

A stream is named by run seed, problem and candidate index. So a candidate does not depend on what else is in
its batch, except through rounding (matrix products of other shapes differ in the last bits), and the plan
fixes the shapes.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from generation.engines.grouped import Grouped


def uniforms(seed: int, key: str, index: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Draw the ``count`` numbers in [0, 1) of one candidate; a longer stream begins with a shorter.

    Example:
        >>> bool((uniforms(0, "p1", 3, 8)[:4] == uniforms(0, "p1", 3, 4)).all())
        True
    """
    name = hashlib.blake2b(f"{seed}\0{index}\0{key}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(name, "little"))).random(count)


def draw(logits: Tensor, u: Tensor, of: Tensor, temperature: float, top_p: float) -> Tensor:
    """Choose one token a number by inverting the cumulative distribution of the number's row.

    Args:
        logits: Shape ``(rows, vocabulary)``, fp32.
        u: Shape ``(numbers,)``, in [0, 1), fp64.
        of: Row of each number, shape ``(numbers,)``.
        temperature: 0 takes the most likely token.
        top_p: 1 keeps every token.

    Returns:
        Token ids, shape ``(numbers,)``; a token of probability 0 is never one of them.

    Example:
        >>> even = torch.tensor([[0.0, 0.0]])
        >>> draw(even, torch.tensor([0.4, 0.6], dtype=torch.float64), torch.tensor([0, 0]), 1.0, 1.0).tolist()
        [0, 1]
    """
    if temperature == 0.0:
        return logits.argmax(-1)[of]
    p = torch.softmax(logits / temperature if temperature != 1.0 else logits, -1)
    if top_p < 1.0:
        ranked, order = p.sort(dim=-1, descending=True, stable=True)
        outside = ranked.cumsum(-1) - ranked >= top_p
        p = torch.zeros_like(p).scatter_(-1, order, ranked.masked_fill(outside, 0.0))
    # fp64: in fp32 the sum over a vocabulary of 128,000 drifts by more than its rare tokens weigh
    mass = p.cumsum(-1, dtype=torch.float64)
    by_row = Grouped(of, len(logits))
    targets = by_row.lay_out(u * mass[of, -1])
    found = by_row.take_back(torch.searchsorted(mass, targets, right=True))
    # u * total can round up to the total itself, which no token exceeds
    last = (p > 0).to(torch.int8).flip(-1).argmax(-1)
    return torch.minimum(found, p.shape[-1] - 1 - last[of])
