"""`shepherd train-prm` and `shepherd score`. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from shepherd.records import PoolFile
    from shepherd.runs import Run
    from verifier.config import ScoreConfig, TrainPrmConfig
    from verifier.prepare import Prepared


@click.command("train-prm")
@click.option(
    "--data",
    metavar="NAME|FILE",
    help="math-shepherd, trl-stepwise or prm800k (from the hub), or rows in a file: Math-Shepherd (input, "
    "label), TRL stepwise (prompt, completions, labels), PRM800K, or question, steps, labels.  "
    "[default: the packaged rows]",
)
@store_option
@run_options
def train_prm(options: RunOptions, data: str | None, no_store: bool) -> None:
    """Train a step-tagged verifier (QLoRA).

    Writes the run directory with verifier/: adapter, tokenizer, verifier.json and a model card. The
    result is the table of step metrics on held-out questions, each beside what position alone would give.

    What the solutions of a step begin with in common is read once. --set group_by=question keeps the rows of
    a question together, so that they have more in common; a step then sees fewer questions.
    --set batch_tokens=N bounds a pass, and with it the memory. Rows of a megabyte and more are kept in the
    store with their tokens, and another training of the same data begins with those.
    """
    from shepherd.config import load_config
    from shepherd.runs import Run
    from verifier import show
    from verifier.config import TrainPrmConfig

    if options.resume is not None:
        _refuse_overrides(options, data, no_store or None)
        run, config = Run.resume(options.resume, "train-prm", TrainPrmConfig)
        if run.is_done:
            show.show_training(run.path, options.as_json)
            return
    else:
        overrides = [*options.overrides, *_override("data", data), *_override("seed", options.seed)]
        overrides += ["store=false"] if no_store else []
        config = load_config(TrainPrmConfig, "train_prm", options.config, overrides)
    if options.dry_run:
        from verifier.dry_run import show_dry_run
        from verifier.plan import plan_training

        show_dry_run("train-prm", config, plan_training(config), options.as_json)
        return

    from verifier.prepare import prepare  # torch takes seconds to import
    from verifier.shape import find_shape

    find_shape(config.base, config.shape)
    prepared = prepare(config)
    if options.resume is None:
        run = Run.create("train-prm", config, options.out, {"training": config.seed}, _inputs(config))
    _train(run, config, prepared)
    show.show_training(run.path, options.as_json)


@click.command("score")
@click.argument("pool", required=False)
@click.option("--verifier", metavar="NAME|DIR", help="A verifier folder, a train-prm run, a published one.")
@click.option("--question", help="Score one solution of this question instead of a pool.")
@click.option("--solution", help="The solution; standard input if it is not given, or -.")
@store_option
@run_options
def score(
    options: RunOptions,
    pool: str | None,
    verifier: str | None,
    question: str | None,
    solution: str | None,
    no_store: bool,
) -> None:
    """Score every step of a POOL's candidates, or of one solution.

    POOL is a file with a line a problem: id, question, answer, candidates (default: the packaged pool).
    Scores go to scores.jsonl in the run directory: for each candidate one number in [0, 1] a step.

    The pool may be larger than memory: it is checked whole, then read and scored a chunk of problems at a
    time (--set chunk=N). What is scored is written at once; --resume goes on behind it. A chunk whose scores
    the store has is not scored again. What candidates of a problem begin with in common is read once;
    --set batch_tokens=N bounds a pass, and with it the memory.
    """
    from shepherd.config import load_config
    from shepherd.records import PoolFile
    from shepherd.runs import Run
    from verifier import show
    from verifier.config import ScoreConfig

    if options.resume is not None:
        _refuse_overrides(options, pool, verifier, question, solution, no_store or None)
        run, config = Run.resume(options.resume, "score", ScoreConfig)
        if run.is_done:
            show.show_scoring(run.path, options.as_json)
            return
        _score_pool(run, config, PoolFile(_pool_path(config), config.limit), options.as_json)
        return
    overrides = [*options.overrides, *_override("pool", pool), *_override("verifier", verifier)]
    overrides += ["store=false"] if no_store else []
    config = load_config(ScoreConfig, "score", options.config, overrides)
    if options.dry_run:
        from verifier.dry_run import show_dry_run
        from verifier.plan import plan_scoring

        show_dry_run("score", config, plan_scoring(config), options.as_json)
        return
    if question is not None or solution is not None:
        if question is None or pool is not None:
            raise ShepherdError("--solution: one solution needs its --question, and no POOL beside them")
        text = sys.stdin.read() if solution in (None, "-") else solution
        _score_one(config, question, str(text), options.as_json)
        return
    from verifier.calibrated import calibration_file, load_calibration
    from verifier.engines.require import require_scorer
    from verifier.places import input_files

    path = Path(_pool_path(config))
    if not path.is_file():
        raise ShepherdError(f"{path}: no such pool; give a file of problems with candidates")
    require_scorer(config.scorer, config.verifier, config.published)
    inputs = [path, *input_files(config.verifier)]
    if load_calibration(config.verifier, config.calibration, config.calibration_from) is not None:
        inputs.append(calibration_file(config.verifier, config.calibration_from))
    seeds = {} if options.seed is None else {"scoring": options.seed}
    pools = PoolFile(path, config.limit)  # before there is a run, so that a bad file leaves none
    run = Run.create("score", config, options.out, seeds, inputs)
    _score_pool(run, config, pools, options.as_json)


def _train(run: Run, config: TrainPrmConfig, prepared: Prepared) -> None:
    from shepherd.files import write_json
    from verifier import show
    from verifier.training import train

    result = train(config, run, prepared)
    write_json(run.path / show.RESULT, result.to_json())
    run.finish()


def _score_pool(run: Run, config: ScoreConfig, pools: PoolFile, as_json: bool) -> None:
    import time

    from shepherd.files import write_json
    from shepherd.shelf import open_store
    from verifier import load_verifier, show
    from verifier.calibrated import load_calibration
    from verifier.kept import scores_shelf
    from verifier.lazy import LazyVerifier
    from verifier.pools import score_pool

    calibrate = load_calibration(config.verifier, config.calibration, config.calibration_from)
    load = partial(load_verifier, config.verifier, **config.loading)
    verifier = LazyVerifier(
        config.verifier, load, device=config.device, engine=config.scorer, threads=config.threads
    )
    run.describe(verifier=verifier.id, calibration=config.calibration)
    started = time.monotonic()
    path, tokens = run.path / "scores.jsonl", config.batch_tokens
    with closing(verifier), open_store(config.store) as store:
        shelf = scores_shelf(store, verifier, batch_tokens=tokens)
        found = score_pool(
            verifier,
            pools,
            path,
            chunk=config.chunk,
            batch_tokens=tokens,
            shelf=shelf,
            calibration=config.calibration,
            calibrate=calibrate,
        )
    run.metric(**found["scored_now"], seconds=round(time.monotonic() - started, 3))
    run.log(f"scored {found['problems']} problems: {found['scored_now']}")
    write_json(run.path / show.RESULT, found)
    run.finish()
    show.show_scoring(run.path, as_json)


def _score_one(config: ScoreConfig, question: str, solution: str, as_json: bool) -> None:
    import numpy as np

    from eval.scores import solution_scores
    from shepherd.console import print_json
    from shepherd.steps import split
    from verifier import load_verifier, show
    from verifier.calibrated import load_calibration

    _set_threads(config.threads)
    steps = split(solution).steps
    calibrate = load_calibration(config.verifier, config.calibration, config.calibration_from)
    with closing(load_verifier(config.verifier, **config.loading)) as verifier:
        (scores,) = verifier.score(question, [solution])
    if calibrate is not None:
        scores = calibrate(np.array(scores)).tolist()
    whole = {how: float(solution_scores([scores], how)[0]) for how in ("min", "prod", "last", "mean")}
    if as_json:
        found = [{"text": step, "score": score} for step, score in zip(steps, scores, strict=True)]
        about = {"rule": verifier.rule, "verifier": verifier.id, "calibration": config.calibration}
        print_json({"question": question, "steps": found, "solution": whole, **about})
        return
    show.show_steps(steps, scores, whole)


def _inputs(config: TrainPrmConfig) -> list[Path]:
    """Files whose SHA-256 the manifest keeps."""
    from verifier.data.sources import locate

    named = [*locate(config.data), *([] if config.heldout is None else locate(config.heldout))]
    return [Path(path) for path in named if path != "-"]


def _pool_path(config: ScoreConfig) -> str:
    from shepherd.assets import asset

    return str(asset("pool")) if config.pool == "embedded" else config.pool


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _override(key: str, value: object) -> list[str]:
    """A ``--set`` for an option of its own; JSON is YAML too, so any text survives."""
    return [] if value is None else [f"{key}={json.dumps(value)}"]


def _refuse_overrides(options: RunOptions, *others: object) -> None:
    if options.overrides or options.seed is not None or any(other is not None for other in others):
        raise ShepherdError(
            f"--resume {options.resume}: a resumed run keeps its config; drop the other options"
        )
