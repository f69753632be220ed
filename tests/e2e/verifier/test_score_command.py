"""`shepherd score` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli
from shepherd.records import Candidate, Problem, ProblemPool, read_pool, read_scores, write_pool

SOLUTION = "Step 1: 1 + 2 = 3. ки\nStep 2: 3 + 1 = 5. The answer is: 5 ки"


def _run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["score", *arguments], input=given)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven problems with three candidates, one of them empty, one repeated."""
    monkeypatch.chdir(tmp_path)
    pools = [
        ProblemPool(
            Problem(str(number), f"Tom has {number} apples and buys 2. How many?", "5"),
            (
                Candidate(SOLUTION),
                Candidate("" if number == 2 else f"{number} + 2 = 5."),
                Candidate(SOLUTION),
            ),
        )
        for number in range(7)
    ]
    write_pool(tmp_path / "pool.jsonl", pools)
    return tmp_path / "pool.jsonl"


def test_a_solution_is_shown_step_by_step(tiny_verifier: Path) -> None:
    done = _run("--verifier", str(tiny_verifier), "--question", "How many?", "--solution", SOLUTION)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("  Step 1: 1 + 2 = 3.")
    assert 0 <= float(lines[0].split()[0]) <= 1
    assert lines[2].startswith("solution: min ")
    assert "\x1b" not in done.stdout


def test_a_solution_comes_from_standard_input_and_goes_to_json(tiny_verifier: Path) -> None:
    arguments = ("--verifier", str(tiny_verifier), "--question", "How many?", "--json")
    done = _run(*arguments, given=SOLUTION)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [step["text"] for step in found["steps"]] == [
        "Step 1: 1 + 2 = 3.",
        "Step 2: 3 + 1 = 5. The answer is: 5",
    ]
    assert found["solution"]["min"] == min(step["score"] for step in found["steps"])
    empty = json.loads(_run(*arguments, given="").stdout)
    assert empty["steps"] == []
    assert empty["solution"]["min"] == 0


def test_scores_are_coloured_where_the_terminal_can(tiny_verifier: Path) -> None:
    arguments = ["--verifier", str(tiny_verifier), "--question", "How many?", "--solution", SOLUTION]
    done = CliRunner().invoke(cli, ["score", *arguments], env={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert done.exit_code == 0, done.output
    assert "\x1b[" in done.stdout


def test_texts_cannot_steer_the_terminal(tiny_verifier: Path) -> None:
    done = _run(
        "--verifier", str(tiny_verifier), "--question", "q", "--solution", "red \x1b[31m \u202e text 5"
    )
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_a_pool_is_scored_in_its_order(tiny_verifier: Path, pool: Path, tmp_path: Path) -> None:
    done = _run(str(pool), "--verifier", str(tiny_verifier), "--out", "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    scores = read_scores(tmp_path / "out" / "scores.jsonl", read_pool(pool))
    assert [line.id for line in scores] == [str(number) for number in range(7)]
    assert {line.verifier for line in scores} == {found["verifier"]}
    assert [len(each) for each in scores[2].step_scores] == [2, 0, 2]
    assert scores[0].step_scores[0] == scores[0].step_scores[2]
    assert found["scored_now"]["solutions_without_steps"] == 1
    assert (found["problems"], found["candidates"]) == (7, 21)
    assert (tmp_path / "out" / "DONE").exists()
    table = _run("--resume", "out")
    assert "solutions without steps (score 0)" in table.stdout


def test_a_killed_run_goes_on_to_the_same_bytes(tiny_verifier: Path, pool: Path, tmp_path: Path) -> None:
    keys = ("--verifier", str(tiny_verifier), "--set", "chunk=3", "--no-store")
    assert _run(str(pool), *keys, "--out", "whole").exit_code == 0
    whole = (tmp_path / "whole" / "scores.jsonl").read_bytes()
    shutil.copytree("whole", "killed")
    (tmp_path / "killed" / "DONE").unlink()
    lines = whole.splitlines(keepends=True)
    (tmp_path / "killed" / "scores.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:20])
    done = _run("--resume", "killed", "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "killed" / "scores.jsonl").read_bytes() == whole
    # Only the chunk that was cut in half was scored again.
    assert json.loads(done.stdout)["scored_now"]["solutions"] == 12


def test_a_limit_takes_the_first_problems(tiny_verifier: Path, pool: Path, tmp_path: Path) -> None:
    done = _run(str(pool), "--verifier", str(tiny_verifier), "--set", "limit=2", "--out", "out")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "out" / "scores.jsonl").read_text().splitlines()) == 2


def test_a_dry_run_prints_the_config(pool: Path, tmp_path: Path) -> None:
    done = _run(str(pool), "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"pool: {pool}" in done.stdout
    assert list(tmp_path.iterdir()) == [pool]


def _refused(done: Result, *said: str) -> None:
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for each in said:
        assert each in done.stderr


def test_bad_input_is_told_in_one_line(tiny: Any, tiny_verifier: Path, pool: Path, tmp_path: Path) -> None:
    verifier = ("--verifier", str(tiny_verifier))
    _refused(_run("--solution", "x"), "--question")
    _refused(_run("nothing.jsonl", *verifier), "nothing.jsonl: no such pool")
    _refused(_run(str(pool), "--verifier", str(tmp_path)), "no verifier.json")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    _refused(_run(str(empty), *verifier), "empty.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text(pool.read_text() + '{"id": "x", "question": "q"}\n')
    _refused(_run(str(broken), *verifier), "broken.jsonl:8:", '"candidates"')
    lines = pool.read_text().splitlines(keepends=True)
    for name, bad, said in (
        ("zero", lines[2].replace('"text"', '"te\0xt"', 1), ":3: broken JSON: Invalid control character"),
        ("cut", lines[2][:90] + "\n", ":3: broken JSON"),
        ("long", '{"id": "' + "x" * 1_000_000 + "\n", ":3: broken JSON"),
        ("twice", lines[0], ':3: id "0" was already on line 1; ids must differ'),
        (
            "digits",
            '{"id": ' + "9" * 5000 + "}\n",
            ":3: JSON that cannot be read: Exceeds the limit (4300 digits)",
        ),
    ):
        hostile = tmp_path / f"{name}.jsonl"
        hostile.write_text("".join([*lines[:2], bad, *lines[3:]]))
        _refused(_run(str(hostile), *verifier), f"{name}.jsonl{said}")
    _refused(_run("x" * 300, *verifier), "x: File name too long")
    assert not (tmp_path / "runs").exists()
    _refused(_run(str(pool), *verifier, "--out", str(pool / "run")), "pool.jsonl/run", "Not a directory")
    other = Path(shutil.copytree(tiny_verifier, tmp_path / "other"))
    tiny.make_tokenizer(extra=("one two three",)).save_pretrained(other / "tokenizer")
    _refused(_run(str(pool), "--verifier", str(other)), "the tokenizer is not the one")
