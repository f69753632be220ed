"""`shepherd pairs`: a pool and its scores become pairs.jsonl, and a count of what became of every two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.grading import GradedProblem, grade_pools
from generation import foreign
from generation.pairs.choose import Choice, choose, gather
from generation.pairs.config import PairUpConfig
from generation.pairs.files import write_pairs
from generation.scored import Log, score_pool
from shepherd.assets import asset
from shepherd.files import write_json, write_jsonl
from shepherd.records import ProblemPool, ScoreLine, read_scores, write_scores
from verifier.places import input_files

PAIRS, DROPPED, SCORES, RESULTS = "pairs.jsonl", "dropped.jsonl", "scores.jsonl", "results.json"


@dataclass(frozen=True, slots=True)
class Given:
    """What is read before anything is done, so that a broken line costs no run.

    Attributes:
        pools: problems and their candidates.
        scores: made before; None where the verifier is to score.
        files: whose hashes the manifest keeps.
    """

    pools: list[ProblemPool]
    scores: list[ScoreLine] | None
    files: list[Path]


def read_given(config: PairUpConfig) -> Given:
    """Read the pool, and the scores where they are given."""
    file = str(asset("pool")) if config.pool.file == "embedded" else str(config.pool.file)
    pools = foreign.read(file, config.pool.format, limit=config.problems.limit).pools
    if config.scores is None:
        return Given(pools, None, [Path(file), *input_files(str(config.verifier))])
    return Given(pools, read_scores(config.scores, pools), [Path(file), Path(config.scores)])


def make_pairs(config: PairUpConfig, given: Given, folder: Path, log: Log) -> dict[str, Any]:
    """Choose pairs and write them.

    Args:
        config: what is chosen.
        given: what `read_given` read.
        folder: gets ``pairs.jsonl``, ``scores.jsonl``, ``results.json`` and, where it is asked for,
            ``dropped.jsonl``.
        log: told what was done, a line at a time.

    Returns:
        What ``results.json`` has.

    Raises:
        ShepherdError: if there is no pair, with the reasons.
    """
    scores = _scores(config, given, folder, log)
    how = config.answers
    graded = grade_pools(given.pools, config.answer_style, how.grader, timeout_s=how.timeout_s)
    choices = [
        choose(pool, line, grades, config.pairs, prompt=config.prompt, round=config.round)
        for pool, line, grades in zip(given.pools, scores, graded, strict=True)
    ]
    if config.dropped:
        write_jsonl(folder / DROPPED, (each.to_json() for choice in choices for each in choice.dropped))
    paired = gather(choices)
    paired.check(str(config.pool.file))
    write_pairs(folder / PAIRS, paired.pairs)
    result = {
        "problems": paired.problems,
        "candidates": sum(len(pool.candidates) for pool in given.pools),
        **counts(choices, graded),
        "verifier": scores[0].verifier,
    }
    write_json(folder / RESULTS, result)
    log(f"{len(paired.pairs)} pairs of {paired.problems} problems: {folder / PAIRS}")
    return result


def counts(choices: Sequence[Choice], graded: Sequence[GradedProblem]) -> dict[str, Any]:
    """What was chosen and dropped, and what the gold answers say of it.

    Args:
        choices: one a problem.
        graded: the same problems.

    Returns:
        ``pairs``, ``dropped`` (twos by reason), ``without_pair`` (problems by reason) and ``mean_margin`` (of
        the scores; None without pairs). Of the pairs whose problem has a gold answer (``with_gold``), how
        many accept and how many reject a candidate that has it.
    """
    paired = gather(choices)
    margins = [
        each.chosen.score - each.rejected.score
        for each in paired.pairs
        if each.chosen.score is not None and each.rejected.score is not None
    ]
    judged = [
        (grades.right[better], grades.right[worse])
        for choice, grades in zip(choices, graded, strict=True)
        if grades.gold is not None
        for better, worse in choice.indices
    ]
    return {
        "pairs": len(paired.pairs),
        "dropped": dict(paired.dropped.most_common()),
        "without_pair": dict(paired.without.most_common()),
        "mean_margin": math.fsum(margins) / len(margins) if margins else None,
        "with_gold": len(judged),
        "chosen_right": sum(better for better, _ in judged),
        "rejected_right": sum(worse for _, worse in judged),
    }


def _scores(config: PairUpConfig, given: Given, folder: Path, log: Log) -> list[ScoreLine]:
    """The given scores, or the verifier's; either way they are in the folder afterwards."""
    path = folder / SCORES
    if given.scores is not None:
        if not path.exists():
            write_scores(path, given.scores)
        return given.scores
    score_pool(given.pools, str(config.verifier), path, config, log)
    return read_scores(path, given.pools)
