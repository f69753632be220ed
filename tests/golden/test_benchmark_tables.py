"""The tables in benchmarks/README.md are those of benchmarks/results, and every benchmark has a toy size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from record import tables, training_tables

FOLDER = Path(__file__).parents[2] / "benchmarks"
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


def test_a_table_that_nobody_measured_names_its_command(tmp_path: Path) -> None:
    assert tables.measured("training_cuda", tmp_path) == (
        "Not measured yet: `.venv/bin/python benchmarks/training.py --device cuda` writes it."
    )
    assert tables.measured("plans", tmp_path) == (
        "Not measured yet: `.venv/bin/python benchmarks/plans.py` writes it."
    )


@pytest.mark.parametrize("name", [name for name, table in tables.TABLES.items() if not table.options])
def test_a_table_is_of_a_script(name: str) -> None:
    assert (FOLDER / f"{tables.TABLES[name].results}.py").is_file()


def test_grouping_is_held_beside_the_default_order_of_the_same_seed() -> None:
    def run(loss: float) -> dict[str, float]:
        learnt = {"loss": loss, "auc": 0.5, "auc_within_question": 0.5}
        return {"steps": 9, "questions": 3, "read_share": 0.5, "processor_s": 2.0, **learnt}

    seeds = [
        {"seed": seed, "runs": {"none": run(0.4 + seed), "question": run(0.5 + 2 * seed)}} for seed in (0, 1)
    ]
    lines = [line.split(" | ") for line in training_tables.grouping({"seeds": seeds}).splitlines()[2:]]
    assert [(line[0], line[1], *line[6:8]) for line in lines] == [
        ("| 0", "none", "0.400", ""),
        ("| 0", "question", "0.500", "+0.100"),
        ("| 1", "none", "1.400", ""),
        ("| 1", "question", "2.500", "+1.100"),
        ("| mean", "none", "0.900", ""),
        ("| mean", "question", "1.500", "+0.600"),
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.stem)
def test_every_measurement_has_a_toy_size(script: Path) -> None:
    """`make bench-smoke` runs whatever stands there; parts of measurements stand in folders of their own."""
    text = script.read_text("utf-8")
    assert '"--smoke"' in text
    assert 'if __name__ == "__main__":' in text
