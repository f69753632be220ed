"""`shepherd dpo-loop`. Heavy imports stay inside the command."""

from __future__ import annotations

import click

from shepherd.console import RunOptions, run_options, store_option


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
@store_option
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
    no_store: bool,
) -> None:
    """Improve a generator with its verifier: roll out, score, pair, DPO on the union of all rounds (DAgger).

    Round after round the generator answers training problems, the verifier scores every step, the best and
    the worst become accept/reject pairs, and a LoRA adapter is trained by DPO on the pairs of all rounds so
    far. Each round is measured on validation problems against round 0; the latest of those that may be the
    best is kept, and asked the test problems once. The run directory has pairs/round-*.jsonl, union.jsonl,
    adapters/, rounds.csv and rounds.png; sample from what was learnt with
    shepherd generate --set adapter=RUN.
    """
    from generation.learn.loop.config import DpoLoopConfig
    from shepherd.console import print_json
    from shepherd.files import read_json
    from shepherd.invocation import resolve

    named: dict[str, object] = {"dagger": dagger, "rounds": rounds, "n": n, "model": model}
    named |= {"problems.source": problems, "verifier": verifier, "merge": merge}
    named["store"] = False if no_store else None
    asked = resolve("dpo-loop", DpoLoopConfig, options, named)
    run, config = asked.run, asked.config
    if options.dry_run:
        from generation.learn.loop.plan import plan_loop
        from verifier.dry_run import show_dry_run

        show_dry_run("dpo-loop", config, plan_loop(config), options.as_json)
        return
    from generation.learn.asked import create_run, read_asked
    from generation.learn.loop.loop import RESULTS, run_loop
    from generation.learn.loop.show import show_loop
    from generation.learn.require import require

    if run is not None and run.is_done:
        result = read_json(run.path / RESULTS)
        result.pop("schema_version", None)
    else:
        require(config)
        wanted = config.rounds * config.problems_a_round
        problems_asked = read_asked(config.problems, config.measure, wanted)
        if run is None:
            run = create_run("dpo-loop", config, config.measure, options.out)
        result = run_loop(config, run, problems_asked)
        run.finish()
    if options.as_json:
        print_json({"run": str(run.path), **result})
        return
    show_loop(result, run.path)
