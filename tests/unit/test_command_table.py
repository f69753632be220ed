from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shepherd.cli import COMMANDS, cli
from shepherd.errors import ShepherdError

HEAVY = {
    "torch",
    "numpy",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "scipy",
    "sklearn",
    "matplotlib",
    "jinja2",
    "rich",
    "pydantic",
    "yaml",
}
ROOMS_ABOVE = {"eval", "verifier", "generation"}


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('\\nLOADED', *{name.partition('.')[0] for name in sys.modules}))\n"
        "from shepherd.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    run = _python(code, *arguments)
    loaded = set(run.stdout.rpartition("LOADED")[2].split())
    assert "shepherd" in loaded
    assert loaded & (HEAVY | ROOMS_ABOVE) == set()


def test_no_commands_help_loads_what_it_would_run_with() -> None:
    code = (
        "import sys\n"
        "import click\n"
        "from click.testing import CliRunner\n"
        "from shepherd.cli import COMMANDS, cli\n"
        "for name in COMMANDS:\n"
        "    inner = getattr(cli.get_command(click.Context(cli), name), 'commands', {})\n"
        "    for words in ([name], *([name, each] for each in inner)):\n"
        "        assert CliRunner().invoke(cli, [*words, '--help']).exit_code == 0, words\n"
        "        print('/'.join(words), *{each.partition('.')[0] for each in sys.modules})\n"
    )
    run = _python(code)
    loaded = {line.split()[0]: set(line.split()[1:]) for line in run.stdout.splitlines()}
    assert {*COMMANDS, "store/ls", "data/check"} <= set(loaded), run.stderr
    for name, modules in loaded.items():
        assert "shepherd" in modules
        assert modules & HEAVY == set(), name


@pytest.mark.parametrize("package", ["eval", "shepherd"])
def test_the_lower_rooms_need_no_torch(package: str) -> None:
    """Their modules, imported one and all; what they import inside functions is not seen here."""
    code = (
        "import importlib, pkgutil, sys\n"
        "found = importlib.import_module(sys.argv[1])\n"
        "for each in pkgutil.walk_packages(found.__path__, sys.argv[1] + '.'):\n"
        "    if not each.name.endswith('__main__'):\n"
        "        importlib.import_module(each.name)\n"
        "print(*sys.modules)\n"
    )
    run = _python(code, package)
    loaded = run.stdout.split()
    assert sum(name.startswith(f"{package}.") for name in loaded) >= 30, run.stderr
    assert {name.partition(".")[0] for name in loaded} & {
        "torch",
        "transformers",
        "verifier",
        "generation",
    } == set()


def test_help_lists_every_command_with_a_line() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name, (_, text) in COMMANDS.items():
        assert name in shown
        assert text.split()[0] in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str) -> None:
    module, _, function = COMMANDS[name][0].partition(":")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        pytest.fail(f"shepherd {name}: {error}")
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {name}")
    assert getattr(importlib.import_module(module), function).help


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in COMMANDS
        if name not in {"runs", "problems", "data", "export", "store", "doctor", "report"}
    ],
)
def test_every_command_has_the_common_options(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"]).output
    for option in ("--config", "--set", "--json", "--out", "--resume", "--seed", "--dry-run"):
        assert option in shown


def test_a_misspelt_command_gets_a_suggestion() -> None:
    result = CliRunner().invoke(cli, ["rernk"])
    assert result.exit_code == 2
    assert "No such command 'rernk'; did you mean rerank?" in result.output
    assert "No such command 'xyzzy'." in CliRunner().invoke(cli, ["xyzzy"]).output


def _add(monkeypatch: pytest.MonkeyPatch, command: click.Command) -> None:
    monkeypatch.setitem(sys.modules, "added", types.SimpleNamespace(command=command))
    monkeypatch.setitem(COMMANDS, "added", ("added:command", "For a test."))


def test_what_a_user_can_fix_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise ShepherdError("pool.jsonl:12: broken JSON")

    _add(monkeypatch, command)
    result = CliRunner().invoke(cli, ["added"])
    assert result.exit_code == 1
    assert result.output == "error: pool.jsonl:12: broken JSON\n"


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from shepherd import runs
    from shepherd.config import Config

    @click.command()
    def command() -> None:
        runs.Run.create("added", Config(), tmp_path / "run")
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "_active", None)
    _add(monkeypatch, command)
    result = CliRunner().invoke(cli, ["added"])
    assert result.exit_code == 130
    assert result.output == f"\nstopped; go on with: shepherd added --resume {tmp_path / 'run'}\n"


def test_an_interrupt_with_no_run_just_stops() -> None:
    code = (
        "import os, signal, sys, types, click\n"
        "from shepherd import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "@click.command()\n"
        "def wait():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "sys.modules['added'] = types.SimpleNamespace(wait=wait)\n"
        "cli.COMMANDS['wait'] = ('added:wait', '')\n"
        "cli.main(['wait'])\n"
    )
    run = _python(code)
    assert run.returncode == 130
    assert run.returncode != -signal.SIGINT
    assert run.stderr == "\nstopped\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "from shepherd.cli import main\nmain(['--help'])"
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.close()
    _, errors = run.communicate()
    assert errors == b""


def test_python_m_shepherd_is_the_same() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "shepherd", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("shepherd, version ")
