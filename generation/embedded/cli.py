"""`shepherd problems`: problems of the embedded world as a file that `generate` and `rerank` read."""

from __future__ import annotations

import click

from shepherd import console
from shepherd.console import RunOptions, run_options

PROBLEMS = "problems.jsonl"


@click.command()
@run_options
def problems(options: RunOptions) -> None:
    """Write problems of the embedded world: id, question, answer and one right solution a line."""
    from generation.embedded.config import ProblemsConfig
    from generation.embedded.world import generate_problems
    from shepherd.config import load_config
    from shepherd.files import write_jsonl
    from shepherd.runs import Run

    if options.resume is None:
        seeded = () if options.seed is None else (f"seed={options.seed}",)
        config = load_config(ProblemsConfig, "problems", options.config, (*options.overrides, *seeded))
        if options.dry_run:
            from verifier.dry_run import Plan, show_dry_run

            show_dry_run("problems", config, Plan({"problems": config.count}), options.as_json)
            return
        run = Run.create("problems", config, options.out, {"seed": config.seed})
    else:
        run, config = Run.resume(options.resume, "problems", ProblemsConfig)
    drawn = generate_problems(config.split, config.count, config.seed, config.twin_share)
    path = run.path / PROBLEMS
    write_jsonl(path, ({**each.problem.to_json(), "solution": each.solution_text} for each in drawn))
    if not run.is_done:
        run.finish()
    if options.as_json:
        console.print_json({"problems": str(path), "count": len(drawn), "split": config.split})
    else:
        console.stdout().print(f"{len(drawn)} problems of the {config.split} split\n{path}")
