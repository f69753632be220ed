"""The policy in training looked at from outside: held-out accuracy, and the adapters that may be kept.

Each evaluation leaves its folder: the adapter as it was, and its greedy answers to the validation problems.
A sentinel that trips ends a run whose last batches were already bad, so the adapter that is kept is the best
by held-out accuracy among those evaluated before the observations that tripped it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.grading import grade_pools
from generation.engines.transformers import TransformersEngine
from generation.generate import sample_pool
from generation.learn.grpo.config import GrpoConfig
from generation.learn.measure import GREEDY, as_policy
from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory
from shepherd.records import Problem
from verifier.adapter import write_adapter

FOLDER, ADAPTER = "evaluations", "adapter"


class Evaluation(NamedTuple):
    """What one evaluation found.

    Attributes:
        batch: generation batches the policy had learnt from.
        accuracy: greedy pass@1 on the validation problems, in [0, 1].
    """

    batch: int
    accuracy: float


def evaluate(
    config: GrpoConfig, model: Any, tokenizer: Any, problems: Sequence[Problem], batch: int, run: Path
) -> Evaluation:
    """Keep the adapter as it is now, and let the policy answer the validation problems greedily."""
    folder = place(run, batch)
    keep(model, tokenizer, config.model, folder / ADAPTER)
    policy = as_policy(config, None, temperature=0.0, seed=config.measure.seed)
    engine = TransformersEngine(model.get_base_model(), tokenizer, config.model)
    pools = sample_pool(policy, 1, problems, folder / GREEDY, engine)
    graded = [
        each
        for each in grade_pools(
            pools, config.answers.style, config.answers.grader, timeout_s=config.answers.timeout_s
        )
        if each.gold is not None
    ]
    if not graded:
        raise ShepherdError(
            "measure.validation: no problem has a gold answer that can be read; held-out accuracy needs them"
        )
    return Evaluation(batch, sum(each.right[0] for each in graded) / len(graded))


def keep(model: Any, tokenizer: Any, base: str, folder: Path) -> None:
    """Write the adapter and its tokenizer; whole or not at all."""
    with atomic_directory(folder) as aside:
        write_adapter(aside, model, base)
        tokenizer.save_pretrained(aside)


def place(run: Path, batch: int) -> Path:
    """The folder of the evaluation after so many generation batches."""
    return run / FOLDER / f"batch-{batch:06d}"


def last_good(evaluations: Sequence[Evaluation], before: int) -> Evaluation:
    """The best evaluation of those at or before generation batch `before`; of equal ones the latest.

    Example:
        >>> found = [Evaluation(0, 0.5), Evaluation(8, 0.6), Evaluation(16, 0.6), Evaluation(24, 0.7)]
        >>> last_good(found, before=20)
        Evaluation(batch=16, accuracy=0.6)
    """
    return max((each for each in evaluations if each.batch <= before), key=lambda each: each[::-1])


def drop_unfinished(run: Path, evaluations: Sequence[Evaluation]) -> None:
    """Delete what a run that was killed had begun beyond its last checkpoint: it is done again."""
    known = {place(run, each.batch) for each in evaluations}
    for folder in (run / FOLDER).glob("batch-*"):
        if folder not in known:
            shutil.rmtree(folder)


def drop_needless(run: Path, evaluations: Sequence[Evaluation], before: int) -> None:
    """Delete the adapters that can be chosen no more: those older than the last good one at `before`."""
    kept = last_good(evaluations, before)
    for each in evaluations:
        if each.batch <= before and each != kept:
            shutil.rmtree(place(run, each.batch) / ADAPTER, ignore_errors=True)
