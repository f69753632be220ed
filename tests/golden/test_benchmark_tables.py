"""The tables in benchmarks/README.md are those of benchmarks/results, and every benchmark has a toy size."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SPEC = importlib.util.spec_from_file_location("benchmark_tables", FOLDER / "record" / "tables.py")
assert SPEC is not None
assert SPEC.loader is not None
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)
README = (FOLDER / "README.md").read_text("utf-8")
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", tables.TABLES)
def test_readme_shows_the_recorded_table(name: str) -> None:
    shown = re.search(rf"<!-- table: {name} -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == tables.measured(name, FOLDER / "results")


def test_a_table_that_moved_is_written_anew() -> None:
    """Only between the marks: the text around them is a person's."""
    moved = re.sub(r"\| median, ms \|", "| mean, ms |", README)
    assert moved != README
    assert tables.refreshed(moved, FOLDER / "results") == README


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.stem)
def test_every_measurement_has_a_toy_size(script: Path) -> None:
    """`make bench-smoke` runs whatever stands there; parts of measurements stand in folders of their own."""
    text = script.read_text("utf-8")
    assert '"--smoke"' in text
    assert 'if __name__ == "__main__":' in text
