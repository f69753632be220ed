"""``shepherd report``."""

from __future__ import annotations

from pathlib import Path

import click

from shepherd import console
from shepherd.errors import ShepherdError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of the report.  [default: runs/report-UTC-HEX]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report's results.json.")
def report(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Show finished runs of rerank, eval-steps and compare as one HTML page with a step viewer.

    RUN is a run directory, or its name under runs/. The page (report.html) is one file that needs no network:
    tables with intervals and verdicts, curves, reliability, diagnostics, cost, how to repeat it, and every
    problem's candidates step by step, coloured by score, with search, filters and keys (press ? in it).
    Beside it: each plot as PNG and SVG (plots/), the tables as Markdown (report.md), the data (results.json).
    """
    with console.user_errors():
        _report(runs, out, as_json)


def _report(names: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Read the runs first, so that a wrong one leaves no directory."""
    from eval.page.read import POOL, RESULTS, SCORES, read_run
    from eval.page.report import MARKDOWN, PAGE, PLOTS, ReportConfig, write_report
    from shepherd.runs import Run

    runs = [read_run(name) for name in names]
    paths = [run.path for run in runs]
    twice = {str(path) for path in paths if paths.count(path) > 1}
    if twice:
        raise ShepherdError(f"{min(twice)}: is named twice; give each run once")
    files = [path / name for path in paths for name in (RESULTS, POOL, SCORES)]
    made = Run.create(
        "report",
        ReportConfig(runs=tuple(map(str, paths))),
        out,
        inputs=[file for file in files if file.is_file()],
        parents=paths,
    )

    def log(message: str) -> None:
        made.log(message)
        click.echo(message, err=True)

    result = write_report(runs, made.path, log)
    made.finish()
    if as_json:
        console.print_json(result)
        return
    for each in result["runs"]:
        console.stdout().print(console.clean(f"{each['title']}: {each['facts']}"))
        for sentence in each["verdicts"]:
            console.stdout().print(console.clean(f"  {sentence}"))
    console.stdout().print(f"page: {made.path / PAGE}\nfiles: {MARKDOWN}, {RESULTS}, {PLOTS}/")
