"""Two ways in which peers score, written plainly: what they compute, and nothing slower.

a_step      one forward pass a step, over all that was written so far (RLHFlow's prm_evaluate.py)
arrival     all solutions, padded in the order in which they come, all logits of the vocabulary (search-and-
            learn's reward models)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verifier.tags import EncodedSolution

Scores = list[NDArray[np.float32]]


@torch.no_grad()
def a_step(model: Any, solutions: Sequence[EncodedSolution], labels: Sequence[int], size: int) -> Scores:
    """A pass a step, `size` of them in a batch; the last position's logits alone leave the head."""
    jobs = [(row, tag) for row, each in enumerate(solutions) for tag in each.tags]
    scores: Scores = [np.zeros(len(each.tags), dtype=np.float32) for each in solutions]
    filled = [0] * len(solutions)
    for start in range(0, len(jobs), size):
        part = jobs[start : start + size]
        ids = pad([solutions[row].ids[: tag + 1] for row, tag in part], model.device)
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
        last = torch.tensor([int(tag) for _, tag in part], device=model.device)
        logits = model.lm_head(states[torch.arange(len(part), device=model.device), last])
        good = logits[:, list(labels)].float().softmax(-1)[:, 0].cpu().numpy()
        for (row, _), score in zip(part, good, strict=True):
            scores[row][filled[row]] = score
            filled[row] += 1
    return scores


@torch.no_grad()
def arrival(model: Any, solutions: Sequence[EncodedSolution], labels: Sequence[int], size: int) -> Scores:
    """`size` solutions a batch as they come, padded to the longest; full logits, then two of them."""
    scores: Scores = []
    for start in range(0, len(solutions), size):
        part = solutions[start : start + size]
        ids = pad([each.ids for each in part], model.device)
        logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        at = np.concatenate(
            [each.tags.astype(np.int64) + row * ids.shape[1] for row, each in enumerate(part)]
        )
        tagged = logits[torch.from_numpy(at).to(model.device)][:, list(labels)]
        good = tagged.float().softmax(-1)[:, 0].cpu().numpy()
        scores += np.split(good, np.cumsum([len(each.tags) for each in part])[:-1])
    return scores


def pad(rows: Sequence[NDArray[np.integer]], device: torch.device | str = "cpu") -> torch.Tensor:
    """Rows as long as the longest, zeros on their right."""
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    return torch.from_numpy(ids).to(device)
