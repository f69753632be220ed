"""`shepherd dpo-loop`. Heavy imports stay inside the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from generation.learn.loop.config import DpoLoopConfig
    from shepherd.runs import Run


@click.command("dpo-loop")
@click.option(
    "--dagger/--no-dagger",
    default=None,
    help="Learn from the pairs of all rounds so far, or from the newest alone.  [default: --dagger]",
)
@click.option("--rounds", type=click.IntRange(1), help="Rounds at most.")
@click.option("--n", type=click.IntRange(2), help="Rollouts a problem.")
@click.option("--model", metavar="MODEL", help="embedded:weak, embedded:strong, a folder or a hub name.")
@click.option("--problems", metavar="SOURCE", help="Training problems: embedded, gsm8k, or a file.")
@click.option("--verifier", metavar="VERIFIER", help="embedded, a verifier folder, or a training run.")
@click.option("--merge", is_flag=True, default=None, help="Write the best policy merged into its base, too.")
@run_options
def dpo_loop(
    options: RunOptions,
    dagger: bool | None,
    rounds: int | None,
    n: int | None,
    model: str | None,
    problems: str | None,
    verifier: str | None,
    merge: bool | None,
) -> None:
    """Improve a generator with its verifier: roll out, score, pair, DPO on the union of all rounds (DAgger).

    Round after round the generator answers training problems, the verifier scores every step, the best and
    the worst become accept/reject pairs, and a LoRA adapter is trained by DPO on the pairs of all rounds so
    far. Each round is measured on validation problems against round 0; the best one is kept, and asked the
    test problems once. The run directory has pairs/round-*.jsonl, union.jsonl, adapters/, rounds.csv and
    rounds.png; sample from what was learnt with shepherd generate --set adapter=RUN.
    """
    named = {
        "dagger": dagger,
        "rounds": rounds,
        "n": n,
        "model": model,
        "problems.source": problems,
        "verifier": verifier,
        "merge": merge,
        "seed": options.seed,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]
    from generation.learn.loop.config import DpoLoopConfig
    from shepherd.config import load_config
    from shepherd.console import print_json
    from shepherd.files import read_json
    from shepherd.runs import Run

    run: Run | None = None
    if options.resume is not None:
        if options.overrides or overrides or options.config != "embedded" or options.dry_run:
            raise ShepherdError(
                f"--resume {options.resume}: a resumed run keeps its config; drop the options that change it"
            )
        run, config = Run.resume(options.resume, "dpo-loop", DpoLoopConfig)
    else:
        config = load_config(DpoLoopConfig, "dpo_loop", options.config, [*options.overrides, *overrides])
    if options.dry_run:
        from generation.learn.loop.plan import plan_loop
        from verifier.dry_run import show_dry_run

        show_dry_run("dpo-loop", config, plan_loop(config), options.as_json)
        return
    from generation.learn.loop.loop import RESULTS, read_problems, require, run_loop
    from generation.learn.loop.show import show_loop

    if run is not None and run.is_done:
        result = read_json(run.path / RESULTS)
        result.pop("schema_version", None)
    else:
        require(config)
        asked = read_problems(config)
        if run is None:
            run = _create(config, options.out)
        result = run_loop(config, run, asked)
        run.finish()
    if options.as_json:
        print_json({"run": str(run.path), **result})
        return
    show_loop(result, run.path)


def _create(config: DpoLoopConfig, out: Path | None) -> Run:
    """Make the run directory, with the hashes of the files it depends on."""
    from generation.inputs import sampling_files
    from shepherd.problems import files_of
    from shepherd.runs import Run
    from verifier.places import input_files

    files = [*sampling_files(config), *input_files(str(config.verifier))]
    for each in (config.measure.validation, config.measure.test):
        files += files_of(each.source, each.split)
    parents = {at: None for file in files for at in file.parents if (at / "manifest.json").is_file()}
    seeds = {"seed": config.seed, "problems": config.problems.seed, "measure": config.measure.seed}
    run = Run.create("dpo-loop", config, out, seeds, list(dict.fromkeys(files)), list(parents))
    click.echo(f"run: {run.path}", err=True)
    return run
