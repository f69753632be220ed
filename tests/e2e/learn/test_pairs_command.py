"""`shepherd pairs` as users meet it: the packaged pool, their own pools and scores, what they get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from generation.pairs.files import read_pairs
from shepherd.cli import cli
from shepherd.steps import split


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def line(name: str, *answers: int, gold: str | None = "5") -> dict[str, Any]:
    texts = [f"Step 1: 2 + 2 = 4 ки\nStep 2: So {each}. The answer is: {each} ки" for each in answers]
    return {
        "id": name,
        "question": f"{name}?",
        "answer": gold,
        "candidates": [{"text": text} for text in texts],
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A problem with a clear pair, one whose scores are close, one without a gold answer."""
    return write(tmp_path / "pool.jsonl", line("a", 5, 6, 7), line("b", 5, 6), line("c", 8, 9, gold=None))


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    made = {"a": [0.9, 0.2, 0.1], "b": [0.5, 0.4], "c": [0.3, 0.8]}
    rows = [
        {"id": name, "step_scores": [[0.9, each] for each in values], "verifier": "v1"}
        for name, values in made.items()
    ]
    return write(tmp_path / "scores.jsonl", *rows)


def test_pairs_of_a_pool_and_its_scores(pool: Path, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = shepherd("pairs", "--pool", pool, "--scores", scores, "--out", out, "--json",
                      "--set", "dropped=true", "--set", "round=4")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["pairs"] == 2
    assert told["dropped"] == {"margin": 2, "taken": 1}
    assert told["without_pair"] == {"margin": 1}
    assert told["mean_margin"] == pytest.approx((0.8 + 0.5) / 2)
    assert (told["with_gold"], told["chosen_right"], told["rejected_right"]) == (1, 1, 0)
    first, second = read_pairs(out / "pairs.jsonl")
    assert (first.prompt, first.chosen.candidate, first.rejected.candidate) == (
        "a?", "round-4/a/0", "round-4/a/2",
    )  # fmt: skip
    assert (second.chosen.candidate, second.round, second.verifier) == ("round-4/c/1", 4, "v1")
    dropped = [json.loads(each) for each in (out / "dropped.jsonl").read_text().splitlines()]
    assert [each["why"] for each in dropped] == ["taken", "margin", "margin"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {str(pool), str(scores)}
    assert (out / "DONE").exists()


def test_the_table_says_what_was_chosen_and_what_was_dropped(
    pool: Path, scores: Path, tmp_path: Path
) -> None:
    result = shepherd("pairs", "--pool", pool, "--scores", scores, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    lines = [" ".join(each.replace("│", " ").split()) for each in result.stdout.splitlines()]
    assert "pairs 2" in lines
    assert "mean margin 0.650" in lines
    assert "accepted candidates that are right 1 of 1 (100.0%)" in lines
    assert "rejected candidates that are right 0 of 1 (0.0%)" in lines
    assert "margin the scores are too close 2 1" in lines
    assert lines[-1] == f"pairs: {tmp_path / 'run' / 'pairs.jsonl'}"
    again = shepherd("pairs", "--resume", tmp_path / "run")
    assert again.stdout == result.stdout


def test_steps_of_a_pool(pool: Path, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = shepherd("pairs", "--pool", pool, "--scores", scores, "--out", out, "--how", "steps", "--json")
    assert result.exit_code == 0, result.output
    pair = read_pairs(out / "pairs.jsonl")[0]
    assert pair.prompt == "a? Step 1: 2 + 2 = 4 ки\n"
    assert pair.chosen.text == "Step 2: So 5. The answer is: 5 ки"
    assert pair.why == "steps: step 2"


def test_the_packaged_pool_by_the_packaged_verifier(tmp_path: Path) -> None:
    result = shepherd("pairs", "--out", tmp_path / "run", "--json", "--set", "problems.limit=12")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["problems"] == 12
    made = read_pairs(tmp_path / "run" / "pairs.jsonl")
    assert len(made) == told["pairs"] > 0
    scored = {
        row["id"]: row["step_scores"]
        for row in map(json.loads, (tmp_path / "run" / "scores.jsonl").read_text().splitlines())
    }
    for pair in made:
        each = scored[pair.problem]
        assert pair.verifier == told["verifier"]
        assert pair.chosen.score == max(map(min, each))
        assert len(split(pair.chosen.text).steps) == len(each[int(pair.chosen.candidate.rsplit("/")[-1])])
    # A run that was killed before its pairs were written ends with the same bytes.
    kept = (tmp_path / "run" / "pairs.jsonl").read_bytes()
    for name in ("DONE", "pairs.jsonl", "results.json"):
        (tmp_path / "run" / name).unlink()
    with (tmp_path / "run" / "scores.jsonl").open("r+b") as handle:
        handle.truncate(2000)
    again = shepherd("pairs", "--resume", tmp_path / "run", "--json")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run" / "pairs.jsonl").read_bytes() == kept


def test_a_dry_run_says_how_much_there_is_to_look_at(pool: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = shepherd("pairs", "--pool", pool, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    told = json.dumps(json.loads(result.stdout))
    assert '"considered": 5' in told
    assert '"pairs_at_most": 3' in told
    assert not (tmp_path / "runs").exists()


def test_what_gives_no_pair_says_why_and_leaves_no_file(pool: Path, scores: Path, tmp_path: Path) -> None:
    result = shepherd("pairs", "--pool", pool, "--scores", scores, "--out", tmp_path / "run",
                      "--set", "pairs.margin=0.95")  # fmt: skip
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"error: {pool}: no pair in 3 problems: 3 margin (the scores are too close); sample more "
        "candidates a problem, or ask less of a pair (pairs.margin, pairs.outcome)"
    )
    assert not (tmp_path / "run" / "pairs.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scores", "SCORES", "--verifier", "embedded"], "--scores and --verifier exclude each other"),
        (["--pool", "none.jsonl"], "none.jsonl: No such file or directory"),
        (["--pool", "EMPTY"], "an empty pool, no lines"),
        (["--pool", "POOL", "--scores", "POOL"], 'pool.jsonl:1: no "step_scores" field'),
        (["--pool", "POOL", "--scores", "SHORT"], "no scores for 2 of 3 problems"),
        (["--resume", "none", "--how", "steps"], "a resumed run keeps its config"),
    ],
)
def test_what_a_user_can_fix_is_one_line(
    arguments: list[str], message: str, pool: Path, scores: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.jsonl"
    short.write_text(scores.read_text().partition("\n")[0])
    (tmp_path / "empty.jsonl").touch()
    files = {"POOL": pool, "SCORES": scores, "SHORT": short, "EMPTY": tmp_path / "empty.jsonl"}
    result = shepherd("pairs", "--out", tmp_path / "run", *[files.get(each, each) for each in arguments])
    if "--resume" in arguments:
        result = shepherd("pairs", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
