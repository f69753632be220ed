"""`shepherd compare-heads`. Heavy imports stay inside the command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from shepherd.runs import Run
    from verifier.compare.config import CompareHeadsConfig


@click.command("compare-heads")
@click.option("--heads", metavar="LIST", help="Which, with commas.  [default: lm,classifier,outcome]")
@click.option("--data", metavar="FILE", help="Training rows.  [default: the packaged rows]")
@click.option("--pool", metavar="FILE", help="Candidates to rerank.  [default: the packaged pool]")
@click.option("--n", type=click.IntRange(min=1), help="Candidates a problem.  [default: the pool's own size]")
@click.option("--limit", type=click.IntRange(min=1), help="The first so many problems of the pool.")
@store_option
@run_options
def compare_heads(
    options: RunOptions,
    heads: str | None,
    data: str | None,
    pool: str | None,
    n: int | None,
    limit: int | None,
    no_store: bool,
) -> None:
    """Train each head of a verifier on the same rows; compare metrics, best-of-n, time and memory.

    --config and --set are those of train-prm. Each head's training is a run of train-prm inside the run
    directory; --resume goes on where it was stopped and trains no finished head again.
    """
    from shepherd.console import print_json
    from shepherd.files import read_json
    from shepherd.runs import Run
    from verifier.compare.config import CompareHeadsConfig
    from verifier.compare.show import show_comparison
    from verifier.show import RESULT

    asked: dict[str, object] = {"heads": heads, "data": data, "pool": pool, "n": n, "limit": limit}
    asked["store"] = False if no_store else None
    run = None
    if options.resume is not None:
        if options.overrides or options.seed is not None or any(each is not None for each in asked.values()):
            raise ShepherdError(
                f"--resume {options.resume}: a resumed run keeps its config; drop the other options"
            )
        run, config = Run.resume(options.resume, "compare-heads", CompareHeadsConfig)
    else:
        config = _config(options, asked)
        if options.dry_run:
            from verifier.dry_run import show_dry_run
            from verifier.plan import plan_comparison

            show_dry_run("compare-heads", config, plan_comparison(config), options.as_json)
            return
    if run is None or not run.is_done:
        run = _compare(run, config, options.out)
    if options.as_json:
        print_json({"run": str(run.path), **read_json(run.path / RESULT)})
    else:
        show_comparison(read_json(run.path / RESULT), run.path)


def _config(options: RunOptions, asked: Mapping[str, object]) -> CompareHeadsConfig:
    """The training config that was asked for, and what else was; every head must be trainable under it."""
    from shepherd.config import load_config
    from verifier.compare.config import CompareHeadsConfig, train_config
    from verifier.config import HEADS, TrainPrmConfig

    named = {"data": asked["data"], "store": asked["store"], "seed": options.seed}
    overrides = [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]
    train = load_config(TrainPrmConfig, "train_prm", options.config, [*options.overrides, *overrides])
    if train.head != "lm":
        raise ShepherdError(f"head: {train.head}: compare-heads trains several; choose them with --heads")
    listed = (
        HEADS if asked["heads"] is None else tuple(part.strip() for part in str(asked["heads"]).split(","))
    )
    if not set(listed) <= set(HEADS) or len(set(listed)) < len(listed):
        raise ShepherdError(
            f"--heads {asked['heads']}: give some of {', '.join(HEADS)}, each once, with commas"
        )
    more = {key: asked[key] for key in ("pool", "n", "limit") if asked[key] is not None}
    config = CompareHeadsConfig.model_validate({"train": train, "heads": listed, **more})
    for head in config.heads:
        train_config(config.train, head)
    return config


def _compare(run: Run | None, config: CompareHeadsConfig, out: Path | None) -> Run:
    """Begin a run, or go on with it; files are read before there is one, so that a bad one leaves none."""
    from shepherd.runs import Run
    from verifier.compare.run import compare, pool_path, read_problems  # torch takes seconds to import
    from verifier.data.sources import locate

    path = pool_path(config)
    if not path.is_file():
        raise ShepherdError(f"{path}: no such pool; give a file of problems with candidates")
    pools = read_problems(config)
    if run is None:
        inputs = [*map(Path, locate(config.train.data)), path]
        run = Run.create("compare-heads", config, out, {"training": config.train.seed}, inputs)
    compare(config, run, pools)
    run.finish()
    return run
