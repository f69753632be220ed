"""What bfloat16 does to scores and to who is chosen, held against fp32 on the same weights.

A solution alone and a solution in a packed row are both rounded, and neither is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from scorers.rivals import Scores
from torch import nn

from shepherd.records import ProblemPool
from shepherd.steps import split
from verifier.folder import load
from verifier.model import TagReader
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution


def trained(pools: Sequence[ProblemPool], budget: int, verifier: str = "embedded") -> dict[str, Any]:
    """A trained verifier in bfloat16, packed and a solution at a time, against itself in fp32.

    Its 4-bit weights stay what they are; all else of it, and all that it computes, is rounded. Loaded as
    bfloat16 it would be another model: its base, rounded before it is quantized, gets other 4-bit weights.
    """
    loaded = load(verifier, device="cpu")
    assert isinstance(loaded.reader, TagReader)
    n = len(pools[0].candidates)
    pairs = [(pool.problem.question, split(each.text).steps) for pool in pools for each in pool.candidates]
    encoded = list(loaded.encode(pairs))
    solutions = [each for each in encoded if len(each.tags)]
    exact = score_packed(loaded.reader, solutions, budget)
    half = TagReader(round_all(loaded.reader.model), loaded.reader.head)
    packed = score_packed(half, solutions, budget)
    alone = one_by_one(half, solutions, budget)
    beside = {
        "packed from fp32": (packed, exact),
        "alone from fp32": (alone, exact),
        "packed from alone": (packed, alone),
    }
    return {
        "verifier": loaded.id,
        "problems": len(pools),
        "candidates": n,
        "steps": sum(len(each.tags) for each in solutions),
        "packs": half.packs,
        "apart": {name: apart(encoded, n, *each) for name, each in beside.items()},
    }


def round_all(model: Any) -> Any:
    """Put a model into bfloat16 where it stands, 4-bit weights aside; transformers' own `to` refuses."""
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.compute_dtype = torch.bfloat16
    return nn.Module.to(model, torch.bfloat16)


def one_by_one(reader: TagReader, solutions: Sequence[EncodedSolution], budget: int) -> Scores:
    """Scores of each solution in a pass of its own."""
    return [score_packed(reader, [each], budget)[0] for each in solutions]


def apart(encoded: Sequence[EncodedSolution], n: int, mine: Scores, theirs: Scores) -> dict[str, Any]:
    """How far two scorings of the same problems are apart, and for how many they choose another candidate.

    Args:
        encoded: all candidates, a problem's `n` after another's.
        n: candidates a problem.
        mine: scores of those that have steps.
        theirs: as `mine`.

    Returns:
        ``largest`` and ``mean`` difference of a score, ``other_choice`` of so many ``problems``, and Wilson's
        95% interval of that share.
    """
    steps = np.abs(np.concatenate(mine) - np.concatenate(theirs))
    pairs = list(zip(chosen(encoded, n, mine), chosen(encoded, n, theirs), strict=True))
    other = sum(one != another for one, another in pairs)
    low, high = binomtest(other, len(pairs)).proportion_ci(method="wilson")
    return {
        "largest": float(steps.max()),
        "mean": float(steps.mean()),
        "other_choice": other,
        "problems": len(pairs),
        "ci95": [float(low), float(high)],
    }


def chosen(encoded: Sequence[EncodedSolution], n: int, scores: Scores) -> list[int]:
    """The best candidate of each problem, by the minimum over its steps; one without steps is never it."""
    left = iter(scores)
    least = [float(next(left).min()) if len(each.tags) else -1.0 for each in encoded]
    return [int(np.argmax(least[at : at + n])) for at in range(0, len(least), n)]


def difference(mine: Scores, theirs: Scores) -> float:
    """The largest difference of a score."""
    return max(float(np.abs(one - other).max()) for one, other in zip(mine, theirs, strict=True))
