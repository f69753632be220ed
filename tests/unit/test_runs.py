from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from shepherd import runs as runs_module
from shepherd.cli import cli
from shepherd.config import Config
from shepherd.errors import ShepherdError
from shepherd.files import read_json, read_jsonl, sha256_file
from shepherd.runs import Run, active_run, list_runs


class Tiny(Config):
    n: int = 16
    problems: str = "embedded"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no run that an earlier test left open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs_module, "_active", None)
    return tmp_path


def _stop(run: Run) -> None:
    """Make a run look like one whose process is gone."""
    run.describe(process={**run.manifest["process"], "started": 0.0})


def test_a_run_holds_what_it_was_made_from(here: Path) -> None:
    pool = here / "pool.jsonl"
    pool.write_text("{}\n")
    run = Run.create("rerank", Tiny(n=4), seeds={"sampling": 7}, inputs=[pool], parents=["runs/generate-1"])
    assert re.fullmatch(r"runs/rerank-\d{8}t\d{6}z-[0-9a-f]{4}", str(run.path))
    manifest = read_json(run.path / "manifest.json")
    assert manifest["command"] == run.command == "rerank"
    assert manifest["argv"] == sys.argv
    assert manifest["seeds"] == run.seeds == {"sampling": 7}
    assert manifest["inputs"] == {str(pool): sha256_file(pool)}
    assert manifest["parents"] == ["runs/generate-1"]
    assert manifest["versions"]["torch"].startswith("2.13")
    assert manifest["device"]["cores"] == os.cpu_count()
    assert {"created", "git", "python", "platform", "process", "schema_version"} <= manifest.keys()
    assert (run.path / "config.yaml").read_text() == "n: 4\nproblems: embedded\n"
    assert not run.is_done


def test_the_code_of_a_clone_is_named(here: Path) -> None:
    git = Run.create("rerank", Tiny()).manifest["git"]
    if (Path(runs_module.__file__).parents[1] / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}", git["sha"])
        assert isinstance(git["dirty"], bool)
    else:
        assert git is None


def test_done_is_written_last(here: Path) -> None:
    run = Run.create("rerank", Tiny(), here / "out")
    run.log("scored 5 problems")
    run.metric(step=1, loss=0.5)
    run.metric(step=2, loss=float("nan"))
    assert active_run() is run
    run.finish()
    assert run.is_done
    assert active_run() is None
    done = (run.path / "DONE").stat().st_mtime_ns
    assert all(file.stat().st_mtime_ns <= done for file in run.path.iterdir())
    assert [row for _, row in read_jsonl(run.path / "metrics.jsonl")] == [
        {"schema_version": 1, "step": 1, "loss": 0.5},
        {"schema_version": 1, "step": 2, "loss": None},
    ]
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ scored 5 problems$", (run.path / "run.log").read_text(), re.M
    )


def test_a_directory_holds_one_run(here: Path) -> None:
    run = Run.create("rerank", Tiny(), here / "out")
    with pytest.raises(
        ShepherdError, match=r"out: holds a run already \(running\); choose another --out, or go on with"
    ):
        Run.create("rerank", Tiny(), here / "out")
    run.finish()
    with pytest.raises(ShepherdError, match=r"out: holds a run already \(done\)"):
        Run.create("rerank", Tiny(), here / "out")
    (here / "file").write_text("")
    with pytest.raises(ShepherdError, match=r"file: is a file; --out must be a directory"):
        Run.create("rerank", Tiny(), here / "file")


def test_a_stopped_run_goes_on_with_its_own_config(here: Path) -> None:
    run = Run.create("rerank", Tiny(n=4), seeds={"sampling": 7})
    run.metric(step=1)
    with (run.path / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 2, "lo')
    _stop(run)
    for name in (run.path, run.path.name, str(run.path)):
        resumed, config = Run.resume(name, "rerank", Tiny)
        assert config == Tiny(n=4)
        _stop(resumed)
    resumed.metric(step=2)
    assert [row["step"] for _, row in read_jsonl(run.path / "metrics.jsonl")] == [1, 2]
    assert len(resumed.manifest["resumed"]) == 3
    assert resumed.seeds == {"sampling": 7}


def test_a_run_that_is_done_can_be_opened(here: Path) -> None:
    run = Run.create("rerank", Tiny(), inputs=[])
    run.finish()
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    again, _ = Run.resume(run.path, "rerank", Tiny)
    assert again.is_done
    assert active_run() is None
    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before


def test_what_cannot_be_resumed_is_said(here: Path) -> None:
    pool = here / "pool.jsonl"
    pool.write_text("{}\n")
    with pytest.raises(
        ShepherdError, match=r"^none: no run here \(no manifest.json\); shepherd runs lists what there is"
    ):
        Run.resume("none", "rerank", Tiny)
    run = Run.create("rerank", Tiny(), here / "out", inputs=[pool])
    with pytest.raises(ShepherdError, match=r"out: is a run of rerank, not of generate$"):
        Run.resume(run.path, "generate", Tiny)
    _stop(run)
    pool.write_text("{}\n{}\n")
    with pytest.raises(
        ShepherdError, match=r"pool.jsonl: has changed since .*out began; put it back, or start a new run"
    ):
        Run.resume(run.path, "rerank", Tiny)


def test_a_run_of_a_living_process_is_running(here: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        import psutil

        run = Run.create("rerank", Tiny())
        run.describe(
            process={
                **run.manifest["process"],
                "pid": other.pid,
                "started": psutil.Process(other.pid).create_time(),
            }
        )
        assert [each.state for each in list_runs(Path("runs"))] == ["running"]
        with pytest.raises(
            ShepherdError, match=rf"is still running \(process {other.pid}\); wait, or stop it first"
        ):
            Run.resume(run.path, "rerank", Tiny)
    finally:
        other.communicate()
    assert [each.state for each in list_runs(Path("runs"))] == ["stopped"]
    run.describe(process={**run.manifest["process"], "pid": os.getpid(), "host": "elsewhere"})
    assert [each.state for each in list_runs(Path("runs"))] == ["stopped"]


def test_runs_are_listed_with_state_age_and_size(here: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(cli, ["runs"]).output == "no runs in runs\n"
    first = Run.create("train-prm", Tiny())
    first.describe(created="2026-01-02T03:04:05+00:00")
    (first.path / "adapter").mkdir()
    (first.path / "adapter" / "weights").write_bytes(b"0" * 3_000_000)
    first.finish()
    second = Run.create("rerank", Tiny())
    third = Run.create("generate", Tiny())
    third.describe(created="2026-01-01T00:00:00+00:00")
    (third.path / "manifest.json").write_text("{ torn")

    result = runner.invoke(cli, ["runs", "--json"])
    assert result.exit_code == 0
    listed = json.loads(result.output)["runs"]
    by_path = {each["path"]: each for each in listed}
    assert by_path[str(first.path)].items() >= {"command": "train-prm", "state": "done"}.items()
    assert by_path[str(first.path)]["size_bytes"] > 3_000_000
    assert by_path[str(second.path)]["state"] == "running"
    assert by_path[str(second.path)]["age_s"] < 60
    assert by_path[str(third.path)].items() >= {"command": "?", "state": "stopped"}.items()
    assert [each["age_s"] for each in listed] == sorted(each["age_s"] for each in listed)

    shown = runner.invoke(cli, ["runs", "runs"])
    assert shown.exit_code == 0
    assert "done" in shown.output
    assert "2.9 MiB" in shown.output
    assert str(second.path) in shown.output
