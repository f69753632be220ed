"""`shepherd rerank`: candidates, step scores, rules, report; each stage leaves its file and can be resumed.

pool.jsonl -> scores.jsonl -> results.json, curves.png
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.grading import grade_pools
from eval.plots import plot_curves
from eval.report import RerankReport, evaluate
from eval.scores import Calibration
from generation import foreign
from generation.clock import Clock
from generation.config import RerankConfig
from generation.generate import POOL, load_problems, sample_pool
from generation.scored import Log, StepScores, lists_of, score_pool
from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from shepherd.records import Problem, ProblemPool, ScoreLine, read_scores, write_pool, write_scores
from verifier.calibrated import load_calibration
from verifier.description import rule_of_verifier
from verifier.engines.require import require_scorer

RESULTS, CURVES, SCORES = "results.json", "curves.png", "scores.jsonl"
SAMPLED_N = 16
"""Candidates a problem where nothing says how many."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is read before anything is done, so that a broken line costs no run.

    Attributes:
        problems: To be answered, where candidates are sampled.
        pool: Candidates made before.
        scores: Their scores made before.
    """

    problems: list[Problem] | None
    pool: foreign.ReadPool | None
    scores: list[ScoreLine] | None


def read_given(config: RerankConfig) -> Given:
    """Read the problems or the pool, and the scores, that a config names."""
    if config.pool.file is None:
        if config.scores is not None:
            raise ShepherdError(
                f"--scores {config.scores}: scores of which candidates? give their pool with --pool"
            )
        return Given(load_problems(config.problems), None, None)
    file = str(asset("pool")) if config.pool.file == "embedded" else config.pool.file
    pool = foreign.read(file, config.pool.format, limit=config.problems.limit, n=config.n)
    return Given(None, pool, None if config.scores is None else read_scores(config.scores, pool.pools))


def require_verifiers(config: RerankConfig) -> None:
    """Refuse what the scoring could not do, before anything is sampled.

    Raises:
        ShepherdError: as `verifier.engines.require_scorer` and `verifier.calibrated.load_calibration`.
    """
    calibration_of(config)
    own = [] if config.verifier is None or config.scores is not None else [config.verifier]
    for verifier in (*own, *config.controls.values()):
        require_scorer(config.scorer, verifier, config.published)


def rerank(
    config: RerankConfig, folder: Path, log: Log, given: Given | None = None, clock: Clock | None = None
) -> dict[str, Any]:
    """Measure every rule on the candidates a config names.

    Args:
        config: What to measure.
        folder: Where pool, scores, ``results.json`` and the picture go; what is finished there stays.
        log: Told what was done, a line at a time.
        given: What `read_given` read; read here if it is None.
        clock: Told what sampling, scoring, scoring the controls, measuring and drawing took.

    Returns:
        The report as ``results.json`` has it.
    """
    clock = clock or Clock()
    given = given or read_given(config)
    flags = None if given.pool is None else given.pool.flags
    with clock.part("sampling"):
        pools = candidates(config, given, folder, log)
    with clock.part("scoring"):
        scores = _scores(config, given, pools, folder, log)
    controls = {}
    for name, verifier in config.controls.items():
        with clock.part("scoring controls"):
            controls[name] = score_pool(pools, verifier, folder / f"scores.{name}.jsonl", config, log)
    with clock.part("measuring"):
        report = measure(config, pools, scores, controls, n=_n(config))
        result = _with_flags(report, pools, flags, config)
    with clock.part("drawing"):
        plot_curves(result, folder / CURVES, title_of(config))
    write_json(folder / RESULTS, result)
    log(f"{report.problems} problems, n = {report.n}: results in {folder / RESULTS}")
    return result


def calibration_of(config: RerankConfig) -> Calibration | None:
    """The map that a config names for the verifier's scores, or for given ones."""
    return load_calibration(str(config.verifier), config.calibration, config.calibration_from)


def measure(
    config: RerankConfig,
    pools: Sequence[ProblemPool],
    scores: StepScores | None,
    controls: Mapping[str, StepScores],
    n: int | None,
) -> RerankReport:
    """Measure every rule on pools and scores that are at hand, as a config says."""
    own = config.verifier is not None and config.scores is None
    return evaluate(
        pools,
        scores,
        answer_style=config.answer_style,
        grader=config.answers.grader,
        grader_timeout_s=config.answers.timeout_s,
        n=n,
        extra=controls,
        extra_rules={name: rule_of_verifier(verifier) for name, verifier in config.controls.items()},
        headline=rule_of_verifier(str(config.verifier)) if own else "min",
        calibration=calibration_of(config),
        softmin_temperature=config.evaluation.softmin_temperature,
        seed=config.seed,
        bootstrap=config.evaluation.bootstrap,
        subsets=config.evaluation.subsets,
    )


def read_results(folder: Path) -> dict[str, Any]:
    """The report of a finished run."""
    result = read_json(folder / RESULTS)
    result.pop("schema_version", None)
    return result


def title_of(config: RerankConfig) -> str:
    """What was measured, in a few words."""
    candidates = config.model if config.pool.file is None else Path(config.pool.file).name
    if config.scores is not None:
        return f"{candidates}, scores of {Path(config.scores).name}"
    return candidates if config.verifier is None else f"{candidates}, verifier {config.verifier}"


def _n(config: RerankConfig) -> int | None:
    """Candidates a problem of the headline figures; None leaves it to the pool."""
    return SAMPLED_N if config.n is None and config.pool.file is None else config.n


def candidates(config: RerankConfig, given: Given, folder: Path, log: Log) -> list[ProblemPool]:
    """The pool that is given, or a sampled one; either way it is in the folder afterwards."""
    path = folder / POOL
    if given.pool is None:
        pools = sample_pool(config, _n(config) or SAMPLED_N, given.problems or [], path)
        log(f"{len(pools)} problems answered by {config.model}: {path}")
        return pools
    if not path.exists():
        write_pool(path, given.pool.pools)
    log(f"{len(given.pool.pools)} problems read from {config.pool.file}")
    return given.pool.pools


def _scores(
    config: RerankConfig, given: Given, pools: Sequence[ProblemPool], folder: Path, log: Log
) -> StepScores | None:
    """Step scores from the file that is given, from the verifier, or none."""
    if given.scores is not None:
        if not (folder / SCORES).exists():
            write_scores(folder / SCORES, given.scores)
        return [lists_of(line) for line in given.scores]
    if config.verifier is None:
        return None
    return score_pool(pools, config.verifier, folder / SCORES, config, log)


def _with_flags(
    report: RerankReport,
    pools: Sequence[ProblemPool],
    flags: Sequence[tuple[bool, ...]] | None,
    config: RerankConfig,
) -> dict[str, Any]:
    """The report's JSON; where the pool says which candidates are right, whether the grading agrees."""
    result = report.to_json()
    if flags is None:
        return result
    how = config.answers
    regraded = grade_pools(pools, config.answer_style, how.grader, timeout_s=how.timeout_s)
    graded = [each.right for each in regraded]
    wrong = sum(mine != said for ours, theirs in zip(graded, flags, strict=True)
                for mine, said in zip(ours, theirs, strict=True))  # fmt: skip
    counts = {"is_correct_flags": sum(map(len, flags)), "is_correct_disagreements": wrong}
    return {**result, "policies": {**result["policies"], **counts}}
