"""The tables of benchmarks/results/*.json in Markdown: what a benchmark prints, and what README.md shows.

`make bench-tables` writes every table that README.md has a place for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from record import program_tables, scoring_tables, training_tables
from record.markdown import Result

from shepherd.files import read_json

FOLDER = Path(__file__).parents[1]
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


class Table(NamedTuple):
    """What a place in README.md shows: of which results, and made how."""

    results: str
    make: Callable[[Result], str]
    options: str = ""

    @property
    def command(self) -> str:
        """What writes the results."""
        script = self.results.removesuffix("-cuda")
        return f".venv/bin/python benchmarks/{script}.py{self.options}"


CARD = " --device cuda --shape llama-3-8b --quantization nf4"
TABLES = {
    "scoring_counts": Table("scoring", scoring_tables.scoring_counts),
    "scoring": Table("scoring", scoring_tables.scoring),
    "scoring_rounded": Table("scoring", scoring_tables.scoring_rounded),
    "scoring_trained": Table("scoring", scoring_tables.scoring_trained),
    "scoring_cuda_counts": Table("scoring-cuda", scoring_tables.scoring_cuda_counts, CARD),
    "scoring_cuda": Table("scoring-cuda", scoring_tables.scoring_cuda, CARD),
    "startup": Table("startup", training_tables.startup),
    "training_counts": Table("training", training_tables.training_counts),
    "training": Table("training", training_tables.training),
    "plans": Table("plans", training_tables.plans),
    "grouping": Table("grouping", training_tables.grouping),
    "training_cuda": Table("training-cuda", training_tables.training_cuda, " --device cuda"),
    "sampling": Table("sampling", program_tables.sampling),
    "curves": Table("curves", program_tables.curves),
    "cold_start": Table("cold_start", program_tables.cold_start),
    "demo": Table("demo", program_tables.demo),
}


def show(name: str, result: Result) -> None:
    """Print a benchmark's table."""
    print(f"\n{TABLES[name].make(result)}", flush=True)


def refreshed(text: str, results: Path) -> str:
    """A text with the results' tables between each ``<!-- table: name -->`` and ``<!-- end -->``."""

    def fresh(found: re.Match[str]) -> str:
        opening, name, closing = found.groups()
        return f"{opening}{measured(name, results)}\n{closing}"

    return _PLACE.sub(fresh, text)


def measured(name: str, results: Path) -> str:
    """A table, and on what its figures were measured; a line that says how to get it where nobody did yet."""
    table = TABLES[name]
    file = results / f"{table.results}.json"
    if not file.exists():
        return f"Not measured yet: `{table.command}` writes it."
    result = read_json(file)
    on = result.get("machine")
    if on is None:  # each entry has its own
        return table.make(result)
    threads = "" if on["threads"] is None else f", {on['threads']} threads"
    where = f"{on['date']}: {on['cpu']}, {on['cores']} cores{threads}, load {on['load']} before it"
    return f"{table.make(result)}\n\n{where}."


if __name__ == "__main__":
    README = FOLDER / "README.md"
    README.write_text(refreshed(README.read_text("utf-8"), FOLDER / "results"), "utf-8")
