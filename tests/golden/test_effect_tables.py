"""The figures in README and docs are those that `benchmarks/effect.py --tables` prints."""

from __future__ import annotations

from pathlib import Path

from record import effect_tables as effect

from shepherd.files import read_json

ROOT = Path(__file__).parents[2]
REPORTS = read_json(ROOT / "benchmarks" / "results" / "effect.json")["reports"]


def test_readme_and_docs_show_the_recorded_tables() -> None:
    assert effect.accuracy_table(REPORTS) in (ROOT / "README.md").read_text(encoding="utf-8")
    docs = (ROOT / "docs" / "embedded-world.md").read_text(encoding="utf-8")
    assert effect.verdict_table(REPORTS) in docs


def test_the_record_supports_what_the_readme_says() -> None:
    """A gain of 5 points or more in each seed, its interval above 0; shuffled labels gain nothing."""
    for seed in ("seed0", "seed1", "seed2"):
        report = REPORTS[f"weak/{seed}"]
        gain = report["paired"]["min_minus_majority"]
        assert report["problems"] >= 500
        assert gain["difference"] >= 0.05
        assert gain["ci95"][0] > 0
    assert REPORTS["weak/shuffled"]["paired"]["min_minus_majority"]["difference"] <= 0
