"""Step scores of a pool's candidates by the verifier that a config names, into a file, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from generation.config import ScoredConfig
from shepherd.files import read_finished
from shepherd.records import ProblemPool, ScoreLine, read_scores
from shepherd.shelf import open_store

if TYPE_CHECKING:
    from verifier.lazy import LazyVerifier

SCORED_AT_ONCE = 1024
"""Candidates the verifier reads in one go: a fixed plan, so that a resumed run writes the same scores."""

Log = Callable[[str], None]
StepScores = list[list[list[float]]]


def score_pool(
    pools: Sequence[ProblemPool], verifier: str, path: Path, config: ScoredConfig, log: Log
) -> StepScores:
    """Score every candidate of a pool into the scores file ``path``, going on where it ends."""
    if len(read_finished(path)) < len(pools):
        from verifier.kept import scores_shelf
        from verifier.pools import score_pool as score

        scorer = lazy_verifier(verifier, config)
        largest = max(len(pool.candidates) for pool in pools)
        chunk = max(1, SCORED_AT_ONCE // largest)
        with closing(scorer), open_store(config.store) as store:
            shelf = scores_shelf(store, scorer, batch_tokens=config.batch_tokens)
            score(scorer, pools, path, chunk=chunk, batch_tokens=config.batch_tokens, shelf=shelf)
        log(f"{len(pools)} problems scored by {verifier} ({scorer.id}): {path}")
    return [lists_of(line) for line in read_scores(path, pools)]


def lazy_verifier(verifier: str, config: ScoredConfig) -> LazyVerifier:
    """A verifier as a config says it is loaded and run; it is loaded when there is something to score."""
    from verifier import load_verifier
    from verifier.lazy import LazyVerifier

    load = partial(
        load_verifier,
        verifier,
        device=config.device,
        format=config.format,
        published=config.published,
        trust_remote_code=config.trust_remote_code,
        scorer=config.scorer,
        vllm=config.scorer_vllm,
        server=config.scorer_server,
        served_as=config.served_as if verifier == config.verifier else None,
    )
    return LazyVerifier(verifier, load, device=config.device, engine=config.scorer, threads=config.threads)


def lists_of(line: ScoreLine) -> list[list[float]]:
    """The step scores of a line as plain lists, one a candidate."""
    return [list(each) for each in line.step_scores]
