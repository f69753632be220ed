"""`shepherd generate` and `shepherd rerank` with the server engine: kills, failures, where the key is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli

KEY = "sk-secret-0123456789abcdef"
QUICK = ("--no-verifier", "--set", "evaluation.bootstrap=200", "--set", "evaluation.subsets=20")


@pytest.fixture
def arguments(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sixteen candidates of sixty problems from the fake endpoint, impatiently."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    named = {
        "engine": "server", "server.base_url": endpoint.url, "server.backoff_s": 0.001, "server.retries": 3,
        "problems.limit": 60, "chunk": 320,
    }  # fmt: skip
    sets = [each for key, value in named.items() for each in ("--set", f"{key}={value}")]
    return ["--model", "fake", "--n", "16", *sets]


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def lines(pool: Path) -> list[bytes]:
    return pool.read_bytes().splitlines(keepends=True) if pool.exists() else []


def kill_when(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> None:
    while process.poll() is None and not is_time():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_whole(pool: Path, problems: int = 60, n: int = 16) -> None:
    """Every problem once, each with n candidates of its own."""
    rows = [json.loads(line) for line in lines(pool)]
    assert len({row["id"] for row in rows}) == len(rows) == problems
    texts = [candidate["text"] for row in rows for candidate in row["candidates"]]
    assert {len(row["candidates"]) for row in rows} == {n}
    assert len(set(texts)) == problems * n


@pytest.mark.parametrize("command", ["generate", "rerank"])
def test_a_killed_run_goes_on_with_nothing_lost_or_doubled(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path, command: str
) -> None:
    more = QUICK if command == "rerank" else ()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = shepherd(command, *arguments, *more, "--out", whole)
    assert result.exit_code == 0, result.output
    check_whole(whole / "pool.jsonl")

    def slowly(asked: Any) -> Any:
        time.sleep(0.02)
        return fake.complete(asked)

    endpoint.reply = slowly
    pool = killed / "pool.jsonl"
    line = [sys.executable, "-m", "shepherd", command, *arguments, *more, "--out", str(killed)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kill_when(process, lambda: len(lines(pool)) >= 7)
    kept = lines(pool)
    assert 7 <= len(kept) < 60
    with pool.open("ab") as handle:
        handle.write(b'{"schema_version": 1, "id": "test-0-')  # what a kill inside a write leaves
    endpoint.asked.clear()
    resumed = shepherd(command, "--resume", killed)
    assert resumed.exit_code == 0, resumed.output
    assert pool.read_bytes() == (whole / "pool.jsonl").read_bytes()
    assert lines(pool)[: len(kept)] == kept
    assert len(endpoint.asked) == 60 - len(kept)  # what was finished is not asked for again
    assert (killed / "DONE").exists()


def test_a_server_that_fails_now_and_then_costs_no_candidate(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    assert shepherd("generate", *arguments, "--out", tmp_path / "calm").exit_code == 0
    faults = [
        fake.error(500, "boom"),
        fake.error(500, "boom"),
        fake.Reply(drop=True),
        fake.error(429, "slow down", **{"Retry-After": "0.01"}),
        fake.Reply(body=b'{"choices": [{"text": "half', cut=20),
        fake.Reply(body=b"<html>"),
        fake.Reply(body={"choices": []}),
    ]
    endpoint.script = [each for fault in faults for each in (fault, None, None, None)]
    assert shepherd("generate", *arguments, "--out", tmp_path / "rough").exit_code == 0
    assert endpoint.script == []
    assert len(endpoint.asked) == 60 + 60 + len(faults)
    assert (tmp_path / "rough/pool.jsonl").read_bytes() == (tmp_path / "calm/pool.jsonl").read_bytes()


def test_a_server_that_dies_leaves_what_was_finished(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    endpoint.reply = lambda asked: (
        fake.complete(asked) if len(endpoint.asked) <= 25 else fake.error(500, "boom")
    )
    result = shepherd("generate", *arguments, "--out", out)
    assert result.exit_code == 1
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {endpoint.url}/completions: HTTP 500: boom (asked for problem ")
    assert "Traceback" not in result.stderr
    finished = len(lines(out / "pool.jsonl"))
    assert 10 <= finished <= 25
    assert not (out / "DONE").exists()
    endpoint.reply = fake.complete
    assert shepherd("generate", "--resume", out).exit_code == 0
    check_whole(out / "pool.jsonl")


def test_an_interrupt_ends_the_command_at_once(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    endpoint.reply = lambda asked: (
        fake.complete(asked) if len(endpoint.asked) <= 20 else fake.Reply(hang=True)
    )
    out = tmp_path / "run"
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "import sys\n"
        "from shepherd.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    line = [sys.executable, "-c", code, "generate", *arguments, "--out", str(out)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(endpoint.asked) < 28:
        time.sleep(0.005)
    time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - started < 10  # the requests would have hung for a minute
    assert process.returncode == 130
    assert f"go on with: shepherd generate --resume {out}" in told
    assert "Traceback" not in told
    assert len(lines(out / "pool.jsonl")) == 20


def failing(fake: ModuleType) -> list[Any]:
    """Answers of servers that repeat the key they were sent."""
    return [
        None,
        fake.error(401, f"no such key: {KEY}"),
        fake.error(400, f"Authorization: Bearer {KEY}"),
        fake.error(503, f"upstream refused {KEY}"),
        fake.Reply(body=f"<html>{KEY}".encode()),
        fake.Reply(307, headers={"Location": f"http://{KEY}@elsewhere/v1?key={KEY}"}),
    ]


@pytest.mark.parametrize("case", range(6))
def test_the_key_is_nowhere_but_in_the_request(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path, case: int
) -> None:
    reply = failing(fake)[case]
    if reply is not None:
        endpoint.reply = lambda _: reply
    out = tmp_path / "run"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "shepherd", "generate", *arguments, "--json", "--out", str(out)),
            *("--set", "server.api_key_env=MY_KEY", "--set", "problems.limit=3"),
        ],
        env={**os.environ, "MY_KEY": KEY},
        capture_output=True,
        check=False,
    )
    assert result.returncode == (0 if reply is None else 1), result.stderr
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
    written = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert {"manifest.json", "config.yaml"} <= {each.name for each in written}
    for name, content in [("stdout", result.stdout), ("stderr", result.stderr)] + [
        (str(each), each.read_bytes()) for each in written
    ]:
        assert KEY.encode() not in content, name
    assert "MY_KEY" in (out / "config.yaml").read_text()


@pytest.mark.parametrize(
    "override",
    [
        f"server.api_key={KEY}",
        f"server.api_key_env={KEY}",
        f"server.base_url=http://user:{KEY}@127.0.0.1/v1",
        f"server.base_url=http://127.0.0.1/v1?key={KEY}",
        f"api_key={KEY}",
    ],
)
def test_a_key_in_the_arguments_is_refused_before_there_is_a_run(
    endpoint: Any, arguments: list[str], tmp_path: Path, override: str
) -> None:
    result = shepherd("generate", *arguments, "--set", override, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert KEY not in result.output
    assert list(tmp_path.iterdir()) == []
    assert endpoint.asked == []


def test_rerank_of_a_model_that_is_not_served_is_one_line(
    endpoint: Any, fake: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    endpoint.reply = lambda asked: (
        fake.complete(asked) if asked.path.endswith("/models") else fake.error(404, "no such model")
    )
    result = shepherd("rerank", *arguments, *QUICK, "--model", "fakes", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        f"error: {endpoint.url}/completions: HTTP 404: no such model "
        '(asked for problem "test-0-0"); it serves fake, other; set model to one of them'
    )
