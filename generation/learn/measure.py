"""A policy measured: it answers problems greedily and by sampling, the verifier scores, the ruler reads.

Everything leaves its file in the folder, and what is finished there is not made again: greedy.jsonl,
pool.jsonl, scores.jsonl.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from eval.generators import Measured, measure
from generation.config import ScoredConfig
from generation.generate import sample_pool
from generation.learn.config import MeasureConfig
from generation.scored import Log, score_pool
from shepherd.records import Problem
from verifier.description import rule_of_verifier

GREEDY, SAMPLED, SCORES = "greedy.jsonl", "pool.jsonl", "scores.jsonl"

C = TypeVar("C", bound=ScoredConfig)


def measure_policy(
    config: ScoredConfig,
    adapter: Path | str | None,
    problems: Sequence[Problem],
    folder: Path,
    *,
    n: int,
    temperature: float,
    seed: int,
    log: Log,
) -> Measured:
    """Let a policy answer problems, greedily and n times by sampling, and measure it.

    Args:
        config: model, engine, prompt and verifier.
        adapter: of the model; None for the model alone.
        problems: with gold answers.
        folder: gets the candidates and their scores; what is finished there stays.
        n: sampled candidates a problem.
        temperature: of the sampled ones.
        seed: of the sampled ones.
        log: told what was done, a line at a time.
    """
    policy = as_policy(config, adapter, temperature=0.0, seed=seed)
    greedy = sample_pool(policy, 1, problems, folder / GREEDY)
    policy = as_policy(config, adapter, temperature=temperature, seed=seed)
    sampled = sample_pool(policy, n, problems, folder / SAMPLED)
    scores = None
    if config.verifier is not None:
        scores = score_pool(sampled, config.verifier, folder / SCORES, config, log)
    answers = config.answers
    return measure(
        greedy,
        sampled,
        scores,
        answer_style=answers.style,
        grader=answers.grader,
        grader_timeout_s=answers.timeout_s,
        rule="min" if config.verifier is None else rule_of_verifier(config.verifier),
    )


def best_temperature(
    config: ScoredConfig, settings: MeasureConfig, problems: Sequence[Problem], folder: Path, log: Log
) -> float:
    """The temperature at which the untrained policy's sampled pass@1 is best; of equal ones the highest.

    Args:
        config: model, engine, prompt; ``config.adapter`` is the untrained policy's own.
        settings: the temperatures, n and the seed.
        problems: the validation problems.
        folder: gets a pool a temperature.
        log: told what was found, a line a temperature.
    """
    found: list[tuple[float, float]] = []
    for temperature in settings.temperatures:
        policy = as_policy(config, config.adapter, temperature=temperature, seed=settings.seed)
        pools = sample_pool(policy, settings.n, problems, folder / f"t{temperature:g}.jsonl")
        answers = config.answers
        rate = measure(
            [type(pool)(pool.problem, pool.candidates[:1]) for pool in pools],
            pools,
            None,
            answer_style=answers.style,
            grader=answers.grader,
            grader_timeout_s=answers.timeout_s,
        ).mean("sampled")
        log(f"temperature {temperature:g}: sampled pass@1 {100 * rate:.1f}% before training")
        found.append((rate, temperature))
    return max(found)[1]


def as_policy(config: C, adapter: Path | str | None, *, temperature: float, seed: int) -> C:
    """The same config with another adapter, temperature and seed."""
    sampling = config.sampling.model_copy(update={"temperature": temperature})
    update = {"adapter": None if adapter is None else str(adapter), "sampling": sampling, "seed": seed}
    return config.model_copy(update=update)
