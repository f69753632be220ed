"""`shepherd pairs`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shepherd.answers import POOL_FORMATS
from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from generation.pairs.config import PairUpConfig
    from shepherd.runs import Run


@click.command()
@click.option(
    "--pool", metavar="FILE", help="Candidates: id, question, answer, candidates.  [default: embedded]"
)
@click.option("--pool-format", type=click.Choice(POOL_FORMATS), help="Format of --pool.  [default: shepherd]")
@click.option("--scores", metavar="FILE", help="Step scores made before: id, step_scores.")
@click.option(
    "--verifier", metavar="FOLDER", help="Scores the pool: verifier folder, run, published verifier."
)
@click.option("--how", metavar="RULE", help="best_worst, above_margin or steps.  [default: best_worst]")
@store_option
@run_options
def pairs(
    options: RunOptions,
    pool: str | None,
    pool_format: str | None,
    scores: str | None,
    verifier: str | None,
    how: str | None,
    no_store: bool,
) -> None:
    """Make accept/reject pairs of scored candidates, in TRL's preference shape.

    Writes pairs.jsonl in the run directory: prompt, chosen, rejected, and of each side the candidate and its
    score. Every two candidates of a problem are a pair, or are dropped for a reason that is counted.
    """
    if scores is not None and verifier is not None:
        raise ShepherdError("--scores and --verifier exclude each other; give one of them")
    from generation.pairs.config import PairUpConfig as Schema
    from shepherd.invocation import resolve

    named: dict[str, object] = {"pool.file": pool, "pool.format": pool_format, "scores": scores}
    named |= {"verifier": verifier, "pairs.how": how, "store": False if no_store else None}
    asked = resolve("pairs", Schema, options, named)
    run, config = asked.run, asked.config
    if options.dry_run:
        from generation.pairs.plan import plan_pairs
        from verifier.dry_run import show_dry_run

        show_dry_run("pairs", config, plan_pairs(config), options.as_json)
        return
    if run is None or not run.is_done:
        run = _make(config, options.out, run)
    _show(run.path, config.pairs.how, options.as_json)


def _make(config: PairUpConfig, out: Path | None, run: Run | None) -> Run:
    """Read, score and choose; in a run of its own, or in one that was stopped."""
    from generation.pairs.make import make_pairs, read_given
    from shepherd.runs import Run
    from verifier.engines.require import require_scorer

    if config.scores is None:
        require_scorer(config.scorer, str(config.verifier), config.published)
    given = read_given(config)
    if run is None:
        parents = {
            at: None for file in given.files for at in file.parents if (at / "manifest.json").is_file()
        }
        run = Run.create("pairs", config, out, {}, given.files, list(parents))
        click.echo(f"run: {run.path}", err=True)
    make_pairs(config, given, run.path, run.log)
    run.finish()
    return run


def _show(run: Path, how: str, as_json: bool) -> None:
    """The result of a finished run."""
    from generation.pairs.make import PAIRS, RESULTS
    from generation.pairs.rules import MEANINGS
    from shepherd.console import print_json, table
    from shepherd.files import read_json

    result = read_json(run / RESULTS)
    if as_json:
        print_json({"run": str(run), "file": str(run / PAIRS), **result})
        return
    gold = result["with_gold"]
    rows = [
        ("problems", f"{result['problems']:,}"),
        ("pairs", f"{result['pairs']:,}"),
        ("mean margin", f"{result['mean_margin']:.3f}"),
        ("accepted candidates that are right", _share(result["chosen_right"], gold)),
        ("rejected candidates that are right", _share(result["rejected_right"], gold)),
    ]
    table(f"pairs, {how}", ("", "value"), rows, f"scores by verifier {result['verifier'] or 'unknown'}")
    without, dropped = result["without_pair"], result["dropped"]
    reasons = [(why, MEANINGS[why], dropped.get(why, 0), without.get(why, 0)) for why in dropped]
    if reasons:
        shown = [(why, meaning, f"{twos:,}", f"{problems:,}") for why, meaning, twos, problems in reasons]
        table("dropped", ("reason", "which says", "twos", "problems without a pair"), shown)
    click.echo(f"pairs: {run / PAIRS}")


def _share(count: int, whole: int) -> str:
    """A count of those whose gold answer is known."""
    return f"{count:,} of {whole:,} ({100 * count / whole:.1f}%)" if whole else "no gold answers"
