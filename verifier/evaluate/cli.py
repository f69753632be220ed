"""`shepherd eval-steps`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from shepherd.runs import Run
    from verifier.evaluate.config import EvalStepsConfig


@click.command("eval-steps")
@click.argument("data", metavar="[FILE|NAME]", required=False)
@click.option("--verifier", metavar="NAME|DIR", help="A verifier folder, a train-prm run, a published one.")
@click.option("--scores", metavar="FILE", help="Use step scores made elsewhere: id, step_scores; no model.")
@click.option("--fit", metavar="FILE|NAME", help="Fit on these rows.  [default: half of the problems]")
@click.option("--save-calibration", is_flag=True, help="Write the calibrations into verifier.json.")
@store_option
@run_options
def eval_steps(
    options: RunOptions,
    data: str | None,
    verifier: str | None,
    scores: str | None,
    fit: str | None,
    save_calibration: bool,
    no_store: bool,
) -> None:
    """Measure step scores on rows with step labels: first errors, ranking, calibration, alarms.

    FILE has a line a row: ProcessBench (problem, steps, label), BIG-Bench-Mistake (input, steps,
    mistake_index), Math-Shepherd, TRL stepwise, PRM800K, or question, steps, labels. NAME is
    processbench-gsm8k, -math, -olympiadbench or -omnimath, or a set of train-prm. The default is the
    embedded world's test problems. Every figure has a 95% interval over problems and stands beside what a
    step's position alone would give; threshold and calibration are fitted on other problems.
    """
    from shepherd.invocation import resolve
    from verifier.evaluate.config import EvalStepsConfig
    from verifier.evaluate.show import show_steps

    if verifier is not None and scores is not None:
        raise ShepherdError("--scores and --verifier exclude each other; give one of them")
    named: dict[str, object] = {"data": data, "verifier": verifier, "scores": scores, "fit": fit}
    named |= {"save_calibration": save_calibration or None, "store": False if no_store else None}
    asked = resolve("eval-steps", EvalStepsConfig, options, named)
    run, config = asked.run, asked.config
    if options.dry_run:
        from verifier.dry_run import show_dry_run
        from verifier.plan import plan_evaluation

        show_dry_run("eval-steps", config, plan_evaluation(config), options.as_json)
        return
    if run is None or not run.is_done:
        run = _measure(run, config, options.out)
    show_steps(run.path, options.as_json)


def _measure(run: Run | None, config: EvalStepsConfig, out: Path | None) -> Run:
    """Begin a run, or go on with it; files are read before there is one, so that a bad one leaves none."""
    from shepherd.runs import Run
    from verifier.calibrated import require_own_folder
    from verifier.engines.require import require_scorer
    from verifier.evaluate.run import evaluate, read_given

    if config.scores is None:
        require_scorer(config.scorer, config.verifier, config.published)
    if config.save_calibration:
        require_own_folder(config.verifier)
    given = read_given(config)
    if run is None:
        run = Run.create("eval-steps", config, out, {"seed": config.seed}, _inputs(config))
    evaluate(config, run, given)
    run.finish()
    return run


def _inputs(config: EvalStepsConfig) -> list[Path]:
    """Files whose SHA-256 the manifest keeps.

    A verifier.json that the run itself will write into is no input: a run that is stopped after that could
    not be resumed.
    """
    from verifier.evaluate.rows import files_of
    from verifier.places import input_files

    files = [each for source in (config.data, config.fit) if source for each in files_of(source)]
    if config.scores is not None:
        files.append(config.scores)
    paths = [Path(each) for each in files if each != "-"]
    if config.scores is None and not config.save_calibration:
        paths += input_files(config.verifier)
    return paths
