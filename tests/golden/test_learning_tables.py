"""The figures in README and docs are those that `benchmarks/learning.py --tables` prints."""

from __future__ import annotations

from pathlib import Path

from record import learning_tables as tables

from shepherd.files import read_json

ROOT = Path(__file__).parents[2]
RESULT = read_json(ROOT / "benchmarks" / "results" / "learning.json")


def test_readme_and_docs_show_the_recorded_tables() -> None:
    assert tables.gain_table(RESULT) in (ROOT / "README.md").read_text(encoding="utf-8")
    docs = (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")
    assert tables.between_table(RESULT) in docs
    assert tables.rounds_table(RESULT) in docs


def test_the_record_supports_what_the_readme_says() -> None:
    """The loop gains in each seed; the bad start is bad; the arms have as many rollouts."""
    for seed in (0, 1, 2):
        kept = RESULT["runs"][f"dagger-{seed}"]["kept_test"]["greedy"]
        assert kept["ci95"][0] > 0
        assert RESULT["runs"][f"dagger-{seed}"]["test"]["problems"] >= 500
    assert RESULT["before"]["bad"]["greedy"]["accuracy"] < 0.05
    for name, run in RESULT["runs"].items():
        if name.startswith("grpo-") and run["stopped_by"] is None:
            assert RESULT["rollouts"] - 128 < run["rollouts"] <= RESULT["rollouts"]
