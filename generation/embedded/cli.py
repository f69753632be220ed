"""`shepherd problems`: problems of the embedded world as a file that `generate` and `rerank` read."""

from __future__ import annotations

from typing import Literal

import click
from pydantic import Field

from shepherd import console
from shepherd.config import Config, load_config
from shepherd.console import RunOptions, run_options

PROBLEMS = "problems.jsonl"


class ProblemsConfig(Config):
    """Which problems `shepherd problems` writes; see `generation.embedded.world.generate_problems`."""

    split: Literal["train", "validation", "test"] = "test"
    count: int = Field(500, ge=1)
    seed: int = Field(0, ge=0)
    twin_share: float = Field(1.0, ge=0, allow_inf_nan=False)


@click.command()
@run_options
def problems(options: RunOptions) -> None:
    """Write problems of the embedded world: id, question, answer and one right solution a line."""
    from generation.embedded.world import generate_problems
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
