from __future__ import annotations

import errno
import json
from dataclasses import asdict
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from shepherd import console
from shepherd.console import RunOptions, clean, print_json, progress, run_options, table, user_errors
from shepherd.errors import ShepherdError


@click.command()
@click.option("--n", default=16)
@run_options
def command(options: RunOptions, n: int) -> None:
    """Do something."""
    if n == 0:
        raise ShepherdError("n: nothing to sample\nseed: missing")
    if n < 0:
        raise KeyError("a bug")
    print_json({**asdict(options), "n": n, "out": str(options.out), "resume": str(options.resume)})


def test_every_command_has_the_same_options() -> None:
    arguments = [
        "--config",
        "a",
        "--set",
        "x=1",
        "--set",
        "y=2",
        "--json",
        "--out",
        "o",
        "--seed",
        "7",
        "--dry-run",
        "--n",
        "4",
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "config": "a",
        "overrides": ["x=1", "y=2"],
        "as_json": True,
        "out": "o",
        "resume": "None",
        "seed": 7,
        "dry_run": True,
        "n": 4,
    }
    helped = CliRunner().invoke(command, ["--help"]).output
    for option in ("--config", "--set", "--json", "--out", "--resume", "--seed", "--dry-run", "--n"):
        assert option in helped


def test_the_defaults_need_no_argument() -> None:
    assert json.loads(CliRunner().invoke(command).stdout)["config"] == "embedded"
    assert RunOptions() == RunOptions("embedded", (), False, None, None, None, False)


def test_a_user_error_is_a_line_each_on_stderr_and_exit_code_1() -> None:
    result = CliRunner().invoke(command, ["--n", "0"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: n: nothing to sample\nerror: seed: missing\n"


def test_a_bug_keeps_its_traceback() -> None:
    result = CliRunner().invoke(command, ["--n", "-1"])
    assert isinstance(result.exception, KeyError)


def test_what_the_system_refuses_is_one_line_with_its_file() -> None:
    def told(error: Exception) -> str:
        @click.command()
        @run_options
        def refused(options: RunOptions) -> None:
            raise error

        @click.group()
        def outer() -> None:
            pass

        outer.add_command(refused)
        with user_errors():  # as the command table has one around each command's own
            outer.main(["refused"], standalone_mode=False)
        raise AssertionError

    full = ShepherdError("run/run.log: No space left on device; nothing finished was lost")
    for error, said in (
        (full, str(full)),
        (OSError(errno.ENOSPC, "", "a.bin"), "a.bin: No space left on device; nothing finished was lost"),
        (OSError(errno.ENOSPC, ""), "writing: No space left on device; nothing finished was lost"),
        (PermissionError(errno.EACCES, "", "pool.jsonl"), "pool.jsonl: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "", "x" * 5000), f"{'x' * 200}: File name too long"),
    ):
        with pytest.raises(click.ClickException) as raised:
            told(error)
        assert raised.value.message.startswith(said)
    with pytest.raises(FileNotFoundError):
        told(FileNotFoundError(errno.ENOENT, "", "a bug"))


def test_a_resumed_run_has_its_place_already() -> None:
    result = CliRunner().invoke(command, ["--out", "a", "--resume", "b"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: --out and --resume: ")


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {
            "auc": float("nan"),
            "curve": (1.0, float("inf"), {"se": -float("inf")}),
            "tag": "ки",
            "torn": "\ud83d",
        }
    )
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"auc": None, "curve": [1.0, None, {"se": None}], "tag": "ки", "torn": "\ud83d"}


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not any(ord(each) < 32 and each not in "\n\t" for each in cleaned)
    assert not any(0x7F <= ord(each) < 0xA0 for each in cleaned)
    assert clean(cleaned) == cleaned
    cleaned.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mb\x1b[0m", "ab"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\b", "ab"),
        ("a\x1bMb\x9b5m", "ab5m"),
        ("a\rb\bc\x00", "abc"),
        ("1 \u202e+ 2\u2066\u200b", "1 + 2"),
        ("keep\n\tthis ки −½", "keep\n\tthis ки −½"),
    ],
)
def test_what_is_taken_out(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_a_table_in_a_file_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table("Title [x]", ["rule", "accuracy"], [["min [bold]", 0.5], ["a" * 90, "\x1b[31m1"]], note="a note")
    shown = capsys.readouterr().out
    assert "Title [x]" in shown
    assert "min [bold]" in shown
    assert "a" * 90 in shown
    assert "a note" in shown
    assert "\x1b" not in shown


def test_progress_in_a_file_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(now)))
    with progress("sampling", total=10, unit="problems", done=4) as bar:
        for _ in range(6):
            bar.note("loss 0.5\x1b[0m")
            bar.advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == "sampling: 7/10 problems, 0.188/s, 16 s, 16 s left, loss 0.5"
    assert lines[-1] == "sampling: 10/10 problems, 0.167/s, 36 s, loss 0.5"
    assert len(lines) == 3


def test_progress_that_fails_still_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress("training", total=None, unit="steps") as bar:
        bar.advance(3)
        raise KeyError("a bug")
    assert capsys.readouterr().err.startswith("training: 3 steps, ")


def test_progress_on_a_terminal_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("training", total=4, unit="steps", done=1) as bar:
        bar.advance()
        bar.note("loss [0.5]")
    assert "training" in capsys.readouterr().err


def test_paths_are_paths() -> None:
    seen: list[RunOptions] = []

    @click.command()
    @run_options
    def keep(options: RunOptions) -> None:
        seen.append(options)

    CliRunner().invoke(keep, ["--resume", "runs/x"])
    assert seen == [RunOptions(resume=Path("runs/x"))]


def test_an_error_that_quotes_a_model_steers_no_terminal() -> None:
    @click.command()
    def quoting() -> None:
        with user_errors():
            raise ShepherdError("pool.jsonl:2: id '\x1b[31mred\u202e\x00' twice\nand once more")

    done = CliRunner().invoke(quoting)
    assert done.exit_code == 1
    assert done.stderr == "error: pool.jsonl:2: id 'red' twice\nerror: and once more\n"
