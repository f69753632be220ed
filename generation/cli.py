"""The commands of the top floor: `shepherd generate`, `shepherd rerank`, `shepherd demo`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

from generation.config import POOL_FORMATS, DemoConfig, GenerateConfig, ProblemsConfig, RerankConfig
from shepherd import console
from shepherd.assets import asset, resolve_model
from shepherd.config import dump_yaml, load_config
from shepherd.console import RunOptions, run_options
from shepherd.errors import ShepherdError
from shepherd.runs import Run

C = TypeVar("C", GenerateConfig, RerankConfig, DemoConfig)


@click.command()
@click.option("--n", type=click.IntRange(min=1), help="Candidates a problem.  [default: 16]")
@click.option("--model", metavar="MODEL", help="embedded:weak, embedded:strong, a folder or a hub name.")
@click.option("--problems", metavar="FILE", help="Problem lines: id, question, answer.  [default: embedded]")
@run_options
def generate(options: RunOptions, n: int | None, model: str | None, problems: str | None) -> None:
    """Sample candidate solutions of problems into a pool.

    Finished problems are appended to pool.jsonl in the run directory; --resume goes on where it ends and
    gives the same bytes.
    """
    opened = _open(
        "generate",
        GenerateConfig,
        options,
        {"n": n, "model": model, "problems.source": problems},
        lambda config: [*_model_files(config.model), *_problem_files(config.problems)],
    )
    if opened is None:
        return
    run, config = opened
    from generation.generate import POOL, load_problems, sample_pool, summary

    path = run.path / POOL
    pools = sample_pool(config, config.n, load_problems(config.problems), path)
    if not run.is_done:
        run.finish()
    found = {"pool": str(path), **summary(pools)}
    if options.as_json:
        console.print_json(found)
    else:
        counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in summary(pools).items())
        console.stdout().print(f"{counts}\n{path}")


@click.command()
@click.option(
    "--n", type=click.IntRange(min=1), help="Candidates a problem.  [default: the pool's own size; 16]"
)
@click.option("--model", metavar="MODEL", help="Samples the candidates: embedded:weak, a folder, a hub name.")
@click.option("--problems", metavar="FILE", help="Problem lines: id, question, answer.  [default: embedded]")
@click.option("--pool", metavar="FILE", help="Rerank candidates made elsewhere (or embedded).")
@click.option("--pool-format", type=click.Choice(POOL_FORMATS), help="Format of --pool.  [default: shepherd]")
@click.option("--scores", metavar="FILE", help="Use step scores made elsewhere: id, step_scores.")
@click.option("--verifier", metavar="FOLDER", help="Verifier folder, training run, or embedded.")
@click.option("--no-verifier", is_flag=True, help="Majority vote and pass@n alone.")
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
) -> None:
    """Sample N solutions a problem, score every step, keep the best; against majority vote.

    A pool line is {"id", "question", "answer", "candidates": [{"text", …}]}, a scores line
    {"id", "step_scores": [[…], …]} with a list a candidate and a number a step. The config key problems.limit
    takes the first k problems.
    """
    if sum([scores is not None, verifier is not None, no_verifier]) > 1:
        raise ShepherdError("--scores, --verifier and --no-verifier exclude each other; give one of them")
    given: dict[str, object] = {"n": n, "model": model, "problems.source": problems, "pool.file": pool}
    given |= {"pool.format": pool_format, "scores": scores, "verifier": verifier}
    opened = _open(
        "rerank",
        RerankConfig,
        options,
        given,
        _rerank_inputs,
        ("verifier=null",) if no_verifier else (),
    )
    if opened is None:
        return
    run, config = opened
    from generation.report_table import print_report, sentence
    from generation.rerank import CURVES, read_results, title_of
    from generation.rerank import rerank as measure

    if run.is_done:
        result = read_results(run.path)
    else:
        result = measure(config, run.path, run.log)
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
    opened = _open("demo", DemoConfig, options, {}, _demo_inputs)
    if opened is None:
        return
    run, config = opened
    from generation.demo import demo as show

    result = show(config, run, quiet=options.as_json)
    if not run.is_done:
        run.finish()
    if options.as_json:
        console.print_json(result)


def _open(
    command: str,
    model: type[C],
    options: RunOptions,
    given: Mapping[str, object],
    inputs: Callable[[C], Sequence[Path]],
    more: Sequence[str] = (),
) -> tuple[Run, C] | None:
    """Make or reopen the run of a command; None after a dry run, which prints the resolved config.

    Args:
        command: Its name, which is also the name of its config folder.
        model: Schema of its config.
        options: What every command is given.
        given: Config keys that have an option of their own, None where it was not given.
        inputs: Files the run depends on.
        more: Further overrides.
    """
    named = [(key, value) for key, value in (*given.items(), ("seed", options.seed)) if value is not None]
    overrides = [*options.overrides, *(f"{key}={json.dumps(value)}" for key, value in named), *more]
    if options.resume is not None:
        if overrides or options.config != "embedded" or options.dry_run:
            raise ShepherdError(
                f"--resume {options.resume}: a resumed run keeps its config; drop the options that change it"
            )
        return Run.resume(options.resume, command, model)
    config = load_config(model, command, options.config, overrides)
    if options.dry_run:
        if options.as_json:
            console.print_json(config.model_dump(mode="json"))
        else:
            click.echo(dump_yaml(config), nl=False)
        return None
    files = inputs(config)
    seeds = {"seed": config.seed, "problems": config.problems.seed}
    run = Run.create(command, config, options.out, seeds, files, _parents(files))
    click.echo(f"run: {run.path}", err=True)
    return run, config


def _rerank_inputs(config: RerankConfig) -> list[Path]:
    """Files a reranking depends on: the model's where it samples, the verifier's where it scores."""
    pool = str(asset("pool")) if config.pool.file == "embedded" else config.pool.file
    files = [Path(each) for each in (pool, config.scores) if each is not None]
    if config.pool.file is None:
        files += [*_model_files(config.model), *_problem_files(config.problems)]
    if config.scores is None and config.verifier is not None:
        files += _verifier_files(config.verifier)
    return [*files, *(file for each in config.controls.values() for file in _verifier_files(each))]


def _demo_inputs(config: DemoConfig) -> list[Path]:
    """Files the demo depends on."""
    models = [file for each in (config.weak, config.strong) for file in _model_files(each.model)]
    return [*models, *_verifier_files(config.verifier), *_problem_files(config.problems)]


def _problem_files(problems: ProblemsConfig) -> list[Path]:
    return [] if problems.source == "embedded" else [Path(problems.source)]


def _verifier_files(name: str) -> list[Path]:
    """What names a verifier's adapter, tokenizer and base by their hashes."""
    folder = asset("verifier") if name == "embedded" else Path(name)
    found = [each / "verifier.json" for each in (folder, folder / "verifier")]
    return [each for each in found if each.is_file()]


def _model_files(name: str) -> list[Path]:
    """Weights, tokenizer and settings of a model folder; nothing for a hub name."""
    folder = Path(resolve_model(name))
    return [each for pattern in ("*.safetensors", "*.json") for each in sorted(folder.glob(pattern))]


def _parents(files: Sequence[Path]) -> list[Path]:
    """Run directories that inputs come from."""
    found = {
        folder: None for file in files for folder in file.parents if (folder / "manifest.json").is_file()
    }
    return list(found)
