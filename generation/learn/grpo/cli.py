"""`shepherd grpo`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    pass

RESULTS = "results.json"


@click.command()
@click.option("--rollouts", type=click.IntRange(2), help="Completions sampled in all.")
@click.option("--n", type=click.IntRange(2), help="Completions of a problem: a group.")
@click.option("--model", metavar="MODEL", help="embedded:weak, embedded:strong, a folder or a hub name.")
@click.option("--problems", metavar="SOURCE", help="Training problems: embedded, gsm8k, or a file.")
@click.option("--verifier", metavar="VERIFIER", help="embedded, a verifier folder, or a training run.")
@store_option
@run_options
def grpo(
    options: RunOptions,
    rollouts: int | None,
    n: int | None,
    model: str | None,
    problems: str | None,
    verifier: str | None,
    no_store: bool,
) -> None:
    """Improve a generator by GRPO, with outcome or process rewards and guard rails.

    The generator answers training problems in groups; rewards (--set rewards.outcome=1, rewards.process=1,
    ...) say how good each solution, or each step, is against the others of its group, and a LoRA adapter
    learns from that with TRL's GRPOTrainer. Groups that teach nothing are counted and drawn again. Sentinels
    end a run that games its rewards: it keeps the last good adapter and exits with 1. The run directory has
    adapter/, batches.jsonl, batches.png and results.json; sample from what was learnt with
    shepherd generate --set adapter=RUN.
    """
    from generation.learn.grpo.config import GrpoConfig
    from shepherd.files import read_json, write_json
    from shepherd.invocation import resolve

    named: dict[str, object] = {"rollouts": rollouts, "generations": n, "model": model}
    named |= {"problems.source": problems, "verifier": verifier, "store": False if no_store else None}
    asked = resolve("grpo", GrpoConfig, options, named)
    run, config = asked.run, asked.config
    if run is not None and run.is_done:
        _show(read_json(run.path / RESULTS), run.path, options.as_json)
        return
    if options.dry_run:
        from generation.learn.grpo.plan import plan_grpo
        from verifier.dry_run import show_dry_run

        show_dry_run("grpo", config, plan_grpo(config), options.as_json)
        return
    from generation.learn.grpo.prepare import prepare  # torch takes seconds to import

    prepared = prepare(config)
    if run is None:
        from generation.learn.asked import create_run

        run = create_run("grpo", config, config.measure, options.out)
    click.echo(prepared.why, err=True)
    from generation.learn.grpo.train import train

    result = train(prepared, run)
    write_json(run.path / RESULTS, result)
    run.finish()
    _show(result, run.path, options.as_json)


def _show(result: dict[str, object], folder: Path, as_json: bool) -> None:
    """Print a finished run; one that a sentinel stopped is an error all the same."""
    from generation.learn.grpo.show import show_grpo, stop_line
    from shepherd.console import print_json

    result.pop("schema_version", None)
    if as_json:
        print_json({"run": str(folder), **result})
    else:
        show_grpo(result, folder)
    stopped = result["stopped_by"]
    if isinstance(stopped, dict):
        raise ShepherdError(stop_line(stopped, folder))
