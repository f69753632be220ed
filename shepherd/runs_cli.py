"""``shepherd runs``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from shepherd.console import duration, print_json, size, table, user_errors


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def runs(folder: Path | None, as_json: bool) -> None:
    """List the runs under FOLDER (default: runs), newest first, with state, age and size.

    A run is done (it wrote DONE), running (its process lives on this machine) or stopped (resume it).
    """
    from shepherd.runs import RUNS_FOLDER, list_runs

    folder = folder or RUNS_FOLDER
    with user_errors():
        found = list_runs(folder)
    if as_json:
        print_json({"runs": [{**asdict(run), "path": str(run.path)} for run in found]})
    elif not found:
        click.echo(f"no runs in {folder}")
    else:
        rows = [
            (run.path, run.command, run.state, duration(run.age_s), size(run.size_bytes)) for run in found
        ]
        table(f"Runs in {folder}", ["run", "command", "state", "age", "size"], rows)
