"""The commands with vLLM: killed, interrupted and resumed; and a server started here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from generation.config import SamplerConfig
from generation.engines import Prompt, Sampling, load_engine
from shepherd.serving import ServerConfig

pytestmark = pytest.mark.vllm

PROBLEMS, N = 12, 16


def run(*arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command as a user starts it, in a session of its own."""
    shepherd = str(Path(sys.executable).with_name("shepherd"))
    with (folder / "out.txt").open("ab") as output:
        return subprocess.Popen(
            [shepherd, "rerank", *arguments], stdout=output, stderr=output, start_new_session=True
        )


def lines(pool: Path) -> list[str]:
    return pool.read_text().splitlines() if pool.exists() else []


def wait_for_lines(process: subprocess.Popen[bytes], pool: Path, count: int) -> list[psutil.Process]:
    """Wait until so many problems are finished; gives the processes of the engine."""
    deadline = time.monotonic() + 600
    while len(lines(pool)) < count:
        assert process.poll() is None, (pool.parents[1] / "out.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


def test_a_run_that_is_killed_and_interrupted_loses_and_doubles_nothing(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pool = out / "pool.jsonl"
    settings = {
        "engine": "vllm",
        "vllm.enforce_eager": "true",
        "problems.limit": str(PROBLEMS),
        "chunk": str(N),
        "sampling.max_new_tokens": "200",
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    arguments = ["--model", str(model), "--no-verifier", "--n", str(N), "--out", str(out), *overrides]

    killed = run(*arguments, folder=tmp_path)
    engine = wait_for_lines(killed, pool, 2)
    assert engine
    killed.kill()
    killed.wait(30)
    _, alive = psutil.wait_procs(engine, timeout=60)
    assert not alive  # nobody told them; the guard did
    kept = lines(pool)
    assert 2 <= len(kept) < PROBLEMS

    interrupted = run("--resume", str(out), folder=tmp_path)
    engine = wait_for_lines(interrupted, pool, len(kept) + 2)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does: to the engine too
    assert interrupted.wait(60) != 0
    _, alive = psutil.wait_procs(engine, timeout=30)
    assert not alive
    assert len(lines(pool)) < PROBLEMS

    resumed = run("--resume", str(out), folder=tmp_path)
    assert resumed.wait(900) == 0, (tmp_path / "out.txt").read_text()
    found = [json.loads(line) for line in lines(pool)]
    assert len({each["id"] for each in found}) == len(found) == PROBLEMS
    assert all(len(each["candidates"]) == N for each in found)
    assert lines(pool)[: len(kept)] == kept
    assert (out / "DONE").exists()
    said = (tmp_path / "out.txt").read_text()
    assert "WARNING" not in said  # vLLM's own words go to its log
    assert "Traceback" not in said


def test_a_server_gives_the_same_records(model: Path, serve: Callable[..., Any]) -> None:
    with serve(model, {"dtype": "float32", "generation_config": "vllm"}) as url:
        engine = load_engine(
            SamplerConfig(engine="server", model="served", server=ServerConfig(base_url=url))
        )
        prompts = [Prompt(f"p{i}", f"Tom has {i} apples. How many?") for i in range(4)]
        sampling = Sampling(max_new_tokens=24, stop=("and",))
        first, again = (engine.generate(prompts, 16, sampling, seed=1) for _ in range(2))
        engine.close()
    assert [len(each) for each in first] == [16] * 4
    assert [[each.text for each in row] for row in first] == [[each.text for each in row] for row in again]
    for each in (each for row in first for each in row):
        assert each.finish_reason in ("stop", "length")
        assert "and" not in each.text
        assert each.tokens is not None
        assert 1 <= each.tokens <= 24
        assert each.logprob is not None
        assert each.logprob < 0
