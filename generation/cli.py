"""`shepherd generate`, `shepherd rerank` and `shepherd demo`. Heavy imports stay inside the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from shepherd import console
from shepherd.answers import POOL_FORMATS
from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from generation.config import DemoConfig, GenerateConfig, RerankConfig
    from shepherd.config import Config
    from shepherd.invocation import Invocation
    from shepherd.runs import Run
    from verifier.dry_run import Plan

C = TypeVar("C", bound="Config")


@click.command()
@click.option("--n", type=click.IntRange(min=1), help="Candidates a problem.  [default: 16]")
@click.option("--model", metavar="MODEL", help="embedded:weak, embedded:strong, a folder or a hub name.")
@click.option(
    "--problems", metavar="SOURCE", help="embedded, gsm8k, a file or a folder.  [default: embedded]"
)
@store_option
@run_options
def generate(
    options: RunOptions, n: int | None, model: str | None, problems: str | None, no_store: bool
) -> None:
    """Sample candidate solutions of problems into a pool.

    Finished problems are appended to pool.jsonl in the run directory; --resume goes on where it ends and
    gives the same bytes.
    """
    from generation.config import GenerateConfig
    from generation.plan import plan_sampling
    from shepherd.invocation import resolve

    named: dict[str, object] = {"n": n, "model": model, "problems.source": problems}
    named["store"] = False if no_store else None
    asked = resolve("generate", GenerateConfig, options, named)
    if _planned("generate", asked, plan_sampling, options):
        return
    from generation.engines import require_engine
    from generation.generate import POOL, load_problems, sample_pool, summary
    from generation.inputs import sampling_files

    require_engine(asked.config.engine)
    found = load_problems(asked.config.problems)
    run = asked.run or _create("generate", asked.config, options.out, sampling_files(asked.config))
    path = run.path / POOL
    pools = sample_pool(asked.config, asked.config.n, found, path)
    if not run.is_done:
        run.finish()
    if options.as_json:
        console.print_json({"pool": str(path), **summary(pools)})
    else:
        counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in summary(pools).items())
        console.stdout().print(f"{counts}\n{path}")


@click.command()
@click.option(
    "--n", type=click.IntRange(min=1), help="Candidates a problem.  [default: the pool's own size; 16]"
)
@click.option("--model", metavar="MODEL", help="Samples the candidates: embedded:weak, a folder, a hub name.")
@click.option(
    "--problems", metavar="SOURCE", help="embedded, gsm8k, a file or a folder.  [default: embedded]"
)
@click.option("--pool", metavar="FILE", help="Rerank candidates made elsewhere (or embedded).")
@click.option("--pool-format", type=click.Choice(POOL_FORMATS), help="Format of --pool.  [default: shepherd]")
@click.option("--scores", metavar="FILE", help="Use step scores made elsewhere: id, step_scores.")
@click.option("--verifier", metavar="FOLDER", help="Verifier folder, training run, published verifier.")
@click.option("--no-verifier", is_flag=True, help="Majority vote and pass@n alone.")
@store_option
@run_options
def rerank(
    options: RunOptions,
    n: int | None,
    model: str | None,
    problems: str | None,
    pool: str | None,
    pool_format: str | None,
    scores: str | None,
    verifier: str | None,
    no_verifier: bool,
    no_store: bool,
) -> None:
    """Sample N solutions a problem, score every step, keep the best; against majority vote.

    A pool line is {"id", "question", "answer", "candidates": [{"text", …}]}, a scores line
    {"id", "step_scores": [[…], …]} with a list a candidate and a number a step. The config key problems.limit
    takes the first k problems.
    """
    from generation.config import RerankConfig
    from generation.plan import plan_rerank
    from shepherd.invocation import resolve

    if sum([scores is not None, verifier is not None, no_verifier]) > 1:
        raise ShepherdError("--scores, --verifier and --no-verifier exclude each other; give one of them")
    named: dict[str, object] = {"n": n, "model": model, "problems.source": problems, "pool.file": pool}
    named |= {"pool.format": pool_format, "scores": scores, "verifier": verifier}
    named["store"] = False if no_store else None
    more = ("verifier=null",) if no_verifier else ()
    asked = resolve("rerank", RerankConfig, options, named, more)
    if _planned("rerank", asked, plan_rerank, options):
        return
    from generation.engines import require_engine
    from generation.inputs import rerank_files
    from generation.report_table import print_report, sentence
    from generation.rerank import CURVES, read_given, read_results, require_verifiers, title_of
    from generation.rerank import rerank as measure

    run, config = asked.run, asked.config
    if run is not None and run.is_done:
        result = read_results(run.path)
    else:
        if config.pool.file is None:
            require_engine(config.engine)
        require_verifiers(config)
        given = read_given(config)
        run = run or _create("rerank", config, options.out, rerank_files(config))
        result = measure(config, run.path, run.log, given)
        run.finish()
    if options.as_json:
        console.print_json(result)
        return
    print_report(result, title_of(config))
    console.stdout().print(f"{sentence(result)}\npicture: {run.path / CURVES}\nfiles: {run.path}")


@click.command()
@run_options
def demo(options: RunOptions) -> None:
    """Run the whole pipeline on the embedded world: train, sample, score, rerank, in a few minutes."""
    from generation.config import DemoConfig
    from generation.plan import plan_demo
    from shepherd.invocation import resolve

    asked = resolve("demo", DemoConfig, options, {})
    if _planned("demo", asked, plan_demo, options):
        return
    from generation.demo import demo as show
    from generation.inputs import demo_files

    run = asked.run or _create("demo", asked.config, options.out, demo_files(asked.config))
    result = show(asked.config, run, quiet=options.as_json)
    if not run.is_done:
        run.finish()
    if options.as_json:
        console.print_json(result)


def _planned(command: str, asked: Invocation[C], plan: Callable[[C], Plan], options: RunOptions) -> bool:
    """Show a dry run, if it is one."""
    if options.dry_run:
        from verifier.dry_run import show_dry_run

        show_dry_run(command, asked.config, plan(asked.config), options.as_json)
    return options.dry_run


def _create(
    command: str, config: GenerateConfig | RerankConfig | DemoConfig, out: Path | None, files: Sequence[Path]
) -> Run:
    """Make the run directory, with the hashes of the files it depends on and the runs they come from."""
    from shepherd.runs import Run

    parents = {at: None for file in files for at in file.parents if (at / "manifest.json").is_file()}
    seeds = {"seed": config.seed, "problems": config.problems.seed}
    run = Run.create(command, config, out, seeds, files, list(parents))
    click.echo(f"run: {run.path}", err=True)
    return run
