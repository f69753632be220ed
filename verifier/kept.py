"""The verifier's shelf in the store: under what a chunk of scores is kept, and how it is read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shepherd.identity import model_label, versions
from shepherd.records import ProblemPool, ScoreLine
from shepherd.shelf import NOWHERE, Shelf
from shepherd.store import Store
from verifier.device import device_kind
from verifier.lazy import LazyVerifier

RECIPE = 2
"""To be raised when the same key would get other scores: another encoding or rounding, or 1e-5 more in fp32.

How a pool is cut into passes is no part of a key, for on a card free memory has a say in it. In fp32 it moves
a score by 1e-5 at most. In bfloat16 it moves a score by a few roundings to 8 bits, about a hundredth at
worst, and may change which of two close candidates is best: `benchmarks/README.md` counts both.
"""

_COMPUTES = {"transformers": ("torch", "transformers", "tokenizers", "peft", "bitsandbytes")}
"""Packages whose version may change a score's last bits; what other engines score is not kept."""

Items = list[tuple[str, list[str]]]


def scores_shelf(store: Store | None, verifier: LazyVerifier, *, batch_tokens: int) -> Shelf:
    """The shelf of a verifier's scores.

    Args:
        store: The open store; None gives a shelf that keeps nothing.
        verifier: Its id is a hash of adapter, base, tokenizer, template and quantization; its threads count
            because sums are split among them, which changes last bits.
        batch_tokens: Decides what shares a batch.
    """
    if store is None or verifier.engine not in _COMPUTES:
        return NOWHERE
    engine = {
        "name": verifier.engine,
        "recipe": RECIPE,
        "device": device_kind(verifier.device),
        "threads": verifier.threads,
        "versions": versions(_COMPUTES[verifier.engine]),
    }
    plan = {"verifier": verifier.id, "engine": engine, "batch_tokens": batch_tokens}
    return Shelf(store, "scores", plan, f"{model_label(verifier.name)} ({verifier.id})")


def read_chunk(shelf: Shelf, pools: Sequence[ProblemPool]) -> list[list[list[float]]] | None:
    """Step scores of every candidate of a chunk's problems; None if it was not kept whole."""
    values = shelf.read(items_of(pools), _named(pools))
    if values is None:
        return None
    lines = [
        ScoreLine.from_json({"id": pool.problem.id, **value}, f"store, {pool.problem.id}", 1)
        for pool, value in zip(pools, values, strict=True)
    ]
    return [[list(each) for each in line.step_scores] for line in lines]


def write_chunk(shelf: Shelf, pools: Sequence[ProblemPool], scores: Sequence[list[list[float]]]) -> None:
    """Keep the scores of a chunk."""
    shelf.write(items_of(pools), _named(pools), [{"step_scores": each} for each in scores])


def items_of(pools: Sequence[ProblemPool]) -> Items:
    """What a verifier is asked: each question with its candidates' texts."""
    return [(pool.problem.question, [each.text for each in pool.candidates]) for pool in pools]


def _named(pools: Sequence[ProblemPool]) -> list[dict[str, Any]]:
    """Ids are left out: the same texts have the same scores in another pool."""
    return [{"question": pool.problem.question, "candidates": len(pool.candidates)} for pool in pools]
