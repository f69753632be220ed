"""`shepherd generate` and `shepherd rerank` as users run them, on a tiny random model and written pools."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli

QUICK = ("--set", "evaluation.bootstrap=200", "--set", "evaluation.subsets=20")
RIGHT = "Step 1: 1 + 1 = 2 The answer is: 2 ки"
WRONG = "Step 1: 1 + 1 = 3 ки\nStep 2: The answer is: 3 ки"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a trained tokenizer, in a folder as those of the hub."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from generation.embedded.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(
        ["Tom has 12 pens. How many pens? Step 1: 3 + 4 = 7 ки\nStep 2: 7 * 2 = 14 ки"]
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, eos_token_id=2, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Four problems; one of four candidates is right, two wrong ones agree, one gives no answer."""
    texts = [WRONG, RIGHT, WRONG, "I do not know"]
    rows = [
        {
            "id": f"p{index}",
            "question": "1 + 1?",
            "answer": "2",
            "candidates": [{"text": text} for text in texts],
        }
        for index in range(4)
    ]
    return write_lines(tmp_path / "pool.jsonl", rows)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Step scores that plant the right candidate."""
    rows = [{"id": f"p{index}", "step_scores": [[0.9, 0.1], [0.8], [0.9, 0.2], [0.7]]} for index in range(4)]
    return write_lines(tmp_path / "scores.jsonl", rows)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def assert_refused(result: Result, *said: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.count("error: ") == 1
    for each in said:
        assert each in result.stderr.splitlines()[-1]
    assert result.stdout == ""


# --- generate --------------------------------------------------------------------------------


def test_generate_writes_a_pool_that_can_be_read_again(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = shepherd(
        "generate", "--model", tiny, "--n", 3, "--set", "problems.limit=4", "--set", "chunk=6",
        "--set", "sampling.max_new_tokens=12", "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["problems"], found["candidates"]) == (4, 12)
    rows = read_lines(out / "pool.jsonl")
    assert [row["id"] for row in rows] == [f"test-0-{index}" for index in range(4)]
    for candidate in rows[0]["candidates"]:
        assert candidate["generator"] == str(tiny)
        assert candidate["finish_reason"] in {"stop", "length"}
        assert 1 <= candidate["tokens"] <= 12
        assert candidate["logprob"] < 0
    assert (out / "DONE").exists()
    assert "sampling: 12/12 candidates" in result.stderr
    again = shepherd("generate", "--resume", out)
    assert again.exit_code == 0
    assert "4 problems, 12 candidates" in again.stdout


def test_a_killed_generate_goes_on_to_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    common = [
        "--model", str(tiny), "--n", "4", "--seed", "5", "--set", "problems.limit=60", "--set", "chunk=8",
        "--set", "sampling.max_new_tokens=60", "--no-store",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = shepherd("generate", *common, "--out", whole)
    assert result.exit_code == 0, result.output
    command = [sys.executable, "-m", "shepherd", "generate", *common, "--out", str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    pool = killed / "pool.jsonl"
    while process.poll() is None and (not pool.exists() or pool.read_bytes().count(b"\n") < 5):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = pool.read_bytes().count(b"\n")
    assert 5 <= finished < 60
    with pool.open("ab") as handle:
        handle.write(b'{"schema_version": 1, "id": "test-0-')  # what a kill inside a write leaves
    resumed = shepherd("generate", "--resume", killed)
    assert resumed.exit_code == 0, resumed.output
    assert pool.read_bytes() == (whole / "pool.jsonl").read_bytes()
    assert (killed / "DONE").exists()


def test_generate_refuses_what_it_cannot_use(tiny: Path, tmp_path: Path) -> None:
    assert_refused(
        shepherd("generate", "--set", "samplin.top_p=1"), "samplin: unknown key; did you mean sampling?"
    )
    assert_refused(shepherd("generate", "--set", "sampling.top_p=2"), "sampling.top_p")
    assert_refused(shepherd("generate", "--model", "embedded:huge"), "embedded:huge: no such packaged asset")
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"id": "a", "question": "?", "answer": "1"}\n{"id": "b", "question": "?"\n')
    assert_refused(
        shepherd("generate", "--model", tiny, "--problems", problems, "--out", tmp_path / "a"),
        f"{problems}:2: broken JSON",
    )
    write_lines(problems, [{"id": "a", "question": "?"}])
    assert_refused(
        shepherd("generate", "--model", tiny, "--problems", problems, "--out", tmp_path / "b"),
        f'{problems}:1: no "answer" field',
    )
    assert_refused(
        shepherd("generate", "--model", tiny, "--set", "engine=vllm", "--out", tmp_path / "c"), "vllm"
    )
    assert not (tmp_path / "c").exists()


def test_generate_shows_its_config_and_runs_nothing(tmp_path: Path) -> None:
    result = shepherd("generate", "--n", 5, "--seed", 3, "--dry-run", "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "\nn: 5\n" in result.stdout
    assert "\nseed: 3\n" in result.stdout
    assert not (tmp_path / "run").exists()


# --- rerank --------------------------------------------------------------------------------


def test_a_planted_best_candidate_is_chosen(pool: Path, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    temperature = ("--set", "evaluation.softmin_temperature=0.5")
    result = shepherd(
        "rerank", "--pool", pool, "--scores", scores, "--out", out, "--json", *QUICK, *temperature
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["settings"]["softmin_temperature"] == 0.5
    keys = {"n", "problems", "pass_at_1", "pass_at_n", "rules", "paired", "curves", "policies"}
    assert set(report) >= keys
    assert (report["n"], report["problems"], report["pass_at_1"], report["pass_at_n"]) == (4, 4, 0.25, 1.0)
    best = report["rules"]["min"]
    assert (best["accuracy"], best["ci95"], best["minus_majority"]["problems_differing"]) == (
        1.0,
        [1.0, 1.0],
        4,
    )
    assert best["minus_majority"]["verdict"] == "no difference shown; 4 problems are too few to show any"
    assert report["rules"]["majority"]["accuracy"] == 0.0
    assert report["rules"]["last"]["accuracy"] == 1.0
    assert report["paired"]["min_minus_majority"]["difference"] == 1.0
    assert [point["n"] for point in report["curves"]["pass_at_n"]] == [1, 2, 4]
    assert report["policies"]["candidates_without_answer"] == 4
    names = {each.name for each in out.iterdir()}
    assert names >= {"pool.jsonl", "scores.jsonl", "results.json", "curves.png", "config.yaml", "DONE"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {str(pool), str(scores)}


def test_the_table_says_what_was_measured_and_where_it_is(pool: Path, scores: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = shepherd("rerank", "--pool", pool, "--scores", scores, "--n", 2, "--out", out, *QUICK)
    assert result.exit_code == 0, result.output
    assert "pool.jsonl, scores of scores.jsonl: best of 2 on 4 problems" in result.stdout
    assert "weighted_min" in result.stdout
    assert f"picture: {out}/curves.png" in result.stdout
    again = shepherd("rerank", "--resume", out)
    assert again.stdout == result.stdout


def test_no_verifier_gives_the_vote_alone_on_the_first_k_problems(pool: Path, tmp_path: Path) -> None:
    result = shepherd(
        "rerank", "--pool", pool, "--no-verifier", "--set", "problems.limit=3", "--json",
        "--out", tmp_path / "run", *QUICK,
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert report["problems"] == 3
    assert set(report["rules"]) == {"majority", "shortest", "random"}
    assert set(report["curves"]) >= {"pass_at_n", "majority"}


def test_candidates_can_be_sampled_first(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = shepherd(
        "rerank", "--model", tiny, "--n", 2, "--no-verifier", "--set", "problems.limit=3",
        "--set", "sampling.max_new_tokens=8", "--out", out, "--json", *QUICK,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["n"], report["problems"]) == (2, 3)
    assert "loglik" in report["rules"]
    assert len(read_lines(out / "pool.jsonl")) == 3


def test_calibrated_rules_stand_beside_the_plain_ones(pool: Path, scores: Path, tmp_path: Path) -> None:
    maps = {"temperature": 2.0, "isotonic": {"x": [0.0, 0.5, 1.0], "y": [0.2, 0.2, 0.9]}, "fitted_on": {}}
    fitted = tmp_path / "calibration.json"
    fitted.write_text(json.dumps({"schema_version": 1, "calibration": maps}))
    given = ("rerank", "--pool", pool, "--scores", scores, *QUICK)
    how = ("--set", "calibration=isotonic", "--set", f"calibration_from={fitted}")
    report = json.loads(shepherd(*given, *how, "--out", tmp_path / "run", "--json").stdout)
    assert {"weighted_calibrated_min", "calibrated_prod"} <= set(report["rules"])
    assert "calibrated_min" not in report["rules"]
    # By the map 0.1 and 0.2 weigh 0.2 and the right one's 0.8 weighs 0.62: its one vote still outweighs two.
    assert report["rules"]["weighted_calibrated_min"]["accuracy"] == 1
    assert str(fitted) in json.loads((tmp_path / "run" / "manifest.json").read_text())["inputs"]
    assert_refused(shepherd(*given, "--set", "calibration=isotonic"), "say with calibration_from")
    assert_refused(shepherd(*given, "--set", f"calibration_from={fitted}"), "calibration_from without")


@pytest.mark.parametrize("scorer", ["vllm", "server"])
def test_an_engine_that_cannot_score_is_refused_before_anything_is_sampled(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scorer: str
) -> None:
    monkeypatch.setattr("shepherd.extras.importlib.util.find_spec", lambda _: object())  # all is installed
    out = tmp_path / "run"
    refused = shepherd("rerank", "--model", tiny, "--set", f"scorer={scorer}", "--out", out, *QUICK)
    assert refused.exit_code == 1
    assert "run shepherd export embedded --out DIR" in refused.output
    assert not out.exists()
    refused = shepherd("score", "--set", f"scorer={scorer}", "--out", out)
    assert "run shepherd export embedded --out DIR" in refused.output
    assert not out.exists()


def broken(path: Path, line: int, text: str) -> Path:
    """The file with another line in one place."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("which", "line", "text", "said"),
    [
        ("pool", 2, '{"id": "p1", "question": ', "pool.jsonl:2: broken JSON"),
        ("pool", 3, '{"id": "p2", "question": "?", "answer": "2"}', 'pool.jsonl:3: no "candidates" field'),
        ("pool", 3, '{"id": "p2", "question": "?", "candidates": []}', 'pool.jsonl:3: no "answer" field'),
        (
            "pool",
            1,
            '{"id": "p0", "question": "?", "answer": "2", "candidates": []}',
            'pool.jsonl:1: "p0" has no',
        ),
        ("scores", 1, '{"id": "p0", "step_scores": [[0.9, 0.1]', "scores.jsonl:1: broken JSON"),
        ("scores", 2, '{"id": "p1"}', 'scores.jsonl:2: no "step_scores" field'),
        (
            "scores",
            2,
            '{"id": "p1", "step_scores": [[1, 1]]}',
            'scores.jsonl:2: "p1" has 1 lists of step scores',
        ),
        (
            "scores",
            4,
            '{"id": "p3", "step_scores": [[0.9], [0.8], [0.9, 0.2], [0.7]]}',
            'scores.jsonl:4: candidate 0 of "p3" has 1 step scores; its text has 2 steps',
        ),
        (
            "scores",
            4,
            '{"id": "p3", "step_scores": [[2, 1], [1], [1, 1], [1]]}',
            "scores.jsonl:4: step_scores[0][0]",
        ),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_lost(
    pool: Path, scores: Path, tmp_path: Path, which: str, line: int, text: str, said: str
) -> None:
    finished = tmp_path / "finished"
    assert shepherd("rerank", "--pool", pool, "--scores", scores, "--out", finished, *QUICK).exit_code == 0
    before = {each.name: each.read_bytes() for each in finished.iterdir()}
    broken({"pool": pool, "scores": scores}[which], line, text)
    assert_refused(
        shepherd("rerank", "--pool", pool, "--scores", scores, "--out", tmp_path / "run", *QUICK), said
    )
    assert {each.name: each.read_bytes() for each in finished.iterdir()} == before


def test_an_empty_pool_an_n_too_large_and_a_missing_file_are_refused(pool: Path, tmp_path: Path) -> None:
    assert_refused(
        shepherd("rerank", "--pool", pool, "--no-verifier", "--n", 5, "--out", tmp_path / "a"),
        f'{pool}:1: "p0" has 4 candidates, n is 5',
    )
    assert_refused(
        shepherd("rerank", "--pool", tmp_path / "none.jsonl", "--no-verifier", "--out", tmp_path / "b"),
        "none.jsonl",
    )
    pool.write_text("")
    assert_refused(
        shepherd("rerank", "--pool", pool, "--no-verifier", "--out", tmp_path / "c"), f"{pool}: an empty pool"
    )


def test_options_that_contradict_each_other_are_refused(pool: Path, scores: Path, tmp_path: Path) -> None:
    assert_refused(shepherd("rerank", "--scores", scores, "--no-verifier"), "exclude each other")
    assert_refused(shepherd("rerank", "--scores", scores), "give their pool with --pool")
    assert_refused(shepherd("rerank", "--pool", pool, "--verifier", tmp_path), "no verifier.json")
    assert_refused(shepherd("rerank", "--set", "verifer=x"), "verifer: unknown key; did you mean verifier?")
    assert_refused(
        shepherd("rerank", "--set", "controls.Bad-Name=x"), "controls: 'Bad-Name' is no name for a row"
    )
    out = tmp_path / "run"
    assert shepherd("rerank", "--pool", pool, "--no-verifier", "--out", out, *QUICK).exit_code == 0
    assert_refused(shepherd("rerank", "--resume", out, "--n", 2), "a resumed run keeps its config")
    assert_refused(
        shepherd("rerank", "--pool", pool, "--no-verifier", "--out", out), "holds a run already (done)"
    )
    assert_refused(shepherd("generate", "--resume", out), "is a run of rerank, not of generate")
