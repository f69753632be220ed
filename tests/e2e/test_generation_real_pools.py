"""Published pools through `shepherd rerank --pool … --no-verifier`, against figures computed independently.

The figures stand in the README of the data: exact expectations over subsets, ties of the vote at random.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shepherd.cli import cli

SUBQ = {
    "chatgpt": (0.524, [0.657, 0.760, 0.835, 0.876], [0.527, 0.596, 0.638, 0.657]),
    "llama13b": (0.225, [0.321, 0.424, 0.521, 0.587], [0.226, 0.254, 0.275, 0.292]),
}


def rerank(pool: Path, pool_format: str, out: Path) -> dict[str, Any]:
    result = CliRunner().invoke(
        cli,
        ["rerank", "--pool", str(pool), "--pool-format", pool_format, "--no-verifier", "--json",
         "--out", str(out), "--set", "evaluation.bootstrap=100"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.mark.parametrize("name", list(SUBQ))
def test_subq_figures_come_out_to_three_digits(foreign_data: Path, tmp_path: Path, name: str) -> None:
    report = rerank(foreign_data / "candidates" / f"subq_{name}_n13.jsonl.gz", "subq", tmp_path / "run")
    accuracy, pass_at, majority_at = SUBQ[name]
    assert (report["n"], report["problems"]) == (13, 1315)
    assert report["pass_at_1"] == pytest.approx(accuracy, abs=5e-4)
    curves = {
        rule: {point["n"]: point["accuracy"] for point in points} for rule, points in report["curves"].items()
    }
    assert list(curves["majority"]) == [1, 2, 4, 8, 13]
    assert [curves["pass_at_n"][n] for n in (2, 4, 8, 13)] == pytest.approx(pass_at, abs=5e-4)
    assert [curves["majority"][n] for n in (2, 4, 8, 13)] == pytest.approx(majority_at, abs=5e-4)
    assert report["policies"]["duplicate_texts"] > 0.2 * 13 * 1315


def test_zeroeval_figures_come_out_within_their_range(foreign_data: Path, tmp_path: Path) -> None:
    report = rerank(foreign_data / "candidates" / "zeroeval_weak16.jsonl.gz", "zeroeval", tmp_path / "run")
    assert (report["n"], report["problems"]) == (16, 1319)
    assert report["pass_at_n"] == pytest.approx(0.990, abs=5e-4)
    assert 0.9395 <= report["rules"]["majority"]["accuracy"] <= 0.9445


def test_openai_samples_agree_with_their_flags(foreign_data: Path, tmp_path: Path) -> None:
    report = rerank(
        foreign_data / "gsm8k" / "example_model_solutions.jsonl", "openai-samples", tmp_path / "run"
    )
    assert (report["n"], report["problems"]) == (4, 1319)
    assert report["pass_at_n"] == pytest.approx(0.672, abs=5e-4)
    assert report["pass_at_1"] == pytest.approx((0.2168 + 0.3904 + 0.3472 + 0.5625) / 4, abs=1e-4)
    assert report["policies"]["is_correct_flags"] == 4 * 1319
    assert report["policies"]["is_correct_disagreements"] == 0


def test_the_pools_are_compared_and_shown_with_the_same_figures(foreign_data: Path, tmp_path: Path) -> None:
    files = {
        "llama13b": ("subq_llama13b_n13", "subq"),
        "chatgpt": ("subq_chatgpt_n13", "subq"),
        "zeroeval": ("zeroeval_weak16", "zeroeval"),
    }
    generators = {
        name: {
            "overrides": [f"pool.file={foreign_data / 'candidates' / file}.jsonl.gz", f"pool.format={kind}"]
        }
        for name, (file, kind) in files.items()
    }
    keys = [f"generators={json.dumps(generators)}", "problems=null", "n=null", "bootstrap=100"]
    overrides = [part for key in keys for part in ("--set", key)]
    out = tmp_path / "run"
    done = CliRunner().invoke(cli, ["compare", *overrides, "--no-verifier", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    # The files number the problems differently; the questions are the same, and ZeroEval has four more.
    assert (found["n"], found["problems"]) == (13, 1315)
    assert found["problems_left_out"] == {"llama13b": 0, "chatgpt": 0, "zeroeval": 4}
    for cell in found["cells"]:
        if cell["generator"] in SUBQ:
            accuracy, pass_at, majority_at = SUBQ[cell["generator"]]
            report = cell["report"]
            assert report["pass_at_1"] == pytest.approx(accuracy, abs=5e-4)
            assert report["pass_at_n"] == pytest.approx(pass_at[-1], abs=5e-4)
            assert report["rules"]["majority"]["accuracy"] == pytest.approx(majority_at[-1], abs=5e-4)
    (difference, *_) = found["differences"]
    assert difference["what"] == "chatgpt minus llama13b, majority vote"
    assert difference["difference"] == pytest.approx(0.657 - 0.292, abs=1e-3)
    assert difference["verdict"] == "better than llama13b"
    page = CliRunner().invoke(cli, ["report", str(out), "--out", str(tmp_path / "report"), "--json"])
    assert page.exit_code == 0, page.output
    (shown,) = json.loads(page.stdout)["runs"]
    assert [each["problems"] for each in shown["viewers"]] == [1315, 1315, 1319]
