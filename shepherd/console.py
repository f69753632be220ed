"""What a command shows: results on stdout, progress on stderr; and the options that every command has.

rich is imported where something is shown, so that ``shepherd --help`` does not wait for it.
"""

from __future__ import annotations

import functools
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from shepherd.errors import ShepherdError
from shepherd.unseen import UNSEEN

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""

PLAIN_INTERVAL_S = 10.0
"""Seconds between two progress lines where stderr is no terminal."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options every command has, as the user gave them."""

    config: str = "embedded"
    overrides: tuple[str, ...] = ()
    as_json: bool = False
    out: Path | None = None
    resume: Path | None = None
    seed: int | None = None
    dry_run: bool = False


class _UserError(click.ClickException):
    """How click is told of a ``ShepherdError``: one line on stderr, exit code 1."""

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"error: {line}", err=True, file=file)


@contextmanager
def user_errors() -> Iterator[None]:
    """Let click report a ``ShepherdError`` as one ``error: …`` line; bugs keep their traceback."""
    try:
        yield
    except ShepherdError as error:
        raise _UserError(clean(str(error))) from error  # an error may quote a model
    except click.ClickException:
        raise  # told already, by a block within this one
    except Exception as error:
        from shepherd.atomic import refusal

        refused = refusal(error)
        if refused is None:
            raise
        raise _UserError(clean(str(refused))) from error


def run_options(command: F) -> F:
    """Give a command the options that all have, as one argument ``options`` (a ``RunOptions``)."""

    @functools.wraps(command)
    def wrapped(
        config: str,
        overrides: tuple[str, ...],
        as_json: bool,
        out: Path | None,
        resume: Path | None,
        seed: int | None,
        dry_run: bool,
        **others: Any,
    ) -> Any:
        with user_errors():
            if out is not None and resume is not None:
                raise ShepherdError(
                    "--out and --resume: a resumed run stays in its own directory; give only one of them"
                )
            return command(
                options=RunOptions(config, overrides, as_json, out, resume, seed, dry_run), **others
            )

    options = [
        click.option(
            "--config",
            metavar="NAME|FILE",
            default="embedded",
            show_default=True,
            help="Shipped config or a YAML file.",
        ),
        click.option(
            "--set",
            "overrides",
            metavar="KEY=VALUE",
            multiple=True,
            help="Override one key of the config (repeatable).",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        click.option(
            "--out",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Run directory.  [default: runs/COMMAND-UTC-HEX]",
        ),
        click.option(
            "--resume",
            metavar="RUN",
            type=click.Path(path_type=Path),
            help="Go on with a run that was stopped.",
        ),
        click.option("--seed", type=int, help="Override the config's seed."),
        click.option("--dry-run", is_flag=True, help="Print config, work and memory, and stop."),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # click reads its options off the function


def store_option(command: F) -> F:
    """Give a command that uses the store ``--no-store``, as its argument ``no_store``."""
    option = click.option(
        "--no-store", is_flag=True, help="Compute everything anew; read and keep nothing in the store."
    )
    return option(command)


def stdout() -> Console:
    """The console for results. Text is printed as it is: no markup, since models write brackets too."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for progress and warnings."""
    return _console(stderr=True)


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> None:
    """Print a table on stdout; the first column is left-aligned, the others (numbers) right."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=Text(title), title_justify="left", caption=Text(note) if note else None, caption_justify="left"
    )
    for index, column in enumerate(columns):
        shown.add_column(Text(column), justify="right" if index else "left", no_wrap=index > 0)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row))
    stdout().print(shown)


def print_json(value: object) -> None:
    """Print one JSON document on stdout; NaN and infinities become null, since JSON has none."""
    finite = _finite(value)
    text = json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(finite, indent=2, allow_nan=False)
    click.echo(text)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


# CSI and OSC sequences, to be taken out whole.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]")


def clean(text: str) -> str:
    r"""Take out of a model's text what could steer a terminal: escapes, control and direction characters.

    Example:
        >>> clean("5\x1b[31m0\x1b[0m\r + \u202e1\n")
        '50 + 1\n'
    """
    return UNSEEN.sub("", _ANSI.sub("", text))


class Progress(Protocol):
    """What a long piece of work tells of itself."""

    def advance(self, steps: float = 1) -> None:
        """Some more is done."""

    def note(self, text: str) -> None:
        """What stands beside the bar, a loss for instance."""


@contextmanager
def progress(what: str, total: float | None, unit: str = "it", done: float = 0) -> Iterator[Progress]:
    """Show on stderr how far a long piece of work is, with a rate and an ETA.

    A bar on a terminal; elsewhere a plain line every ten seconds, and one at the end.

    Args:
        what: What is done, as "training".
        total: How much there is to do; None if nobody knows.
        unit: What is counted, in the plural ("problems").
        done: How much was done before (a resumed run); the rate leaves it out.
    """
    if not sys.stderr.isatty():
        plain = _PlainProgress(what, total, unit, done)
        try:
            yield plain
        finally:
            plain.show()
        return

    from rich import progress as rich_progress

    columns = [
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}", markup=False),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[aside]}", markup=False),
    ]
    with rich_progress.Progress(*columns, console=stderr(), transient=False) as bar:
        task = bar.add_task(what, total=total, rate="", aside="")
        bar.update(task, completed=done)
        yield _BarProgress(bar, task, unit)


class _BarProgress:
    def __init__(self, bar: Any, task: Any, unit: str) -> None:
        self._bar, self._task, self._unit = bar, task, unit
        self._count, self._started = 0.0, time.monotonic()

    def advance(self, steps: float = 1) -> None:
        self._count += steps
        rate = self._count / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(self._task, advance=steps, rate=f"{rate:.3g} {self._unit}/s")

    def note(self, text: str) -> None:
        self._bar.update(self._task, aside=clean(text))


class _PlainProgress:
    def __init__(self, what: str, total: float | None, unit: str, done: float) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._before, self._count, self._aside = done, 0.0, ""
        self._started = self._shown = time.monotonic()

    def advance(self, steps: float = 1) -> None:
        self._count += steps
        if time.monotonic() - self._shown >= PLAIN_INTERVAL_S:
            self.show()

    def note(self, text: str) -> None:
        self._aside = clean(text)

    def show(self) -> None:
        self._shown = time.monotonic()
        took = max(self._shown - self._started, 1e-9)
        rate, done = self._count / took, self._before + self._count
        line = f"{self._what}: {done:g}" + (f"/{self._total:g}" if self._total is not None else "")
        line += f" {self._unit}, {rate:.3g}/s, {duration(took)}"
        if self._total is not None and rate > 0 and done < self._total:
            line += f", {duration((self._total - done) / rate)} left"
        click.echo(line + (f", {self._aside}" if self._aside else ""), err=True)


def duration(seconds: float) -> str:
    """A time span in two units.

    Example:
        >>> duration(42.4), duration(125), duration(7300), duration(200_000)
        ('42 s', '2 min 5 s', '2 h 1 min', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for big, small, big_s, small_s in (("min", "s", 60, 1), ("h", "min", 3600, 60)):
        if whole < big_s * (60 if big == "min" else 24):
            return f"{whole // big_s} {big} {whole % big_s // small_s} {small}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(size_bytes: int) -> str:
    """A number of bytes in a unit that suits it.

    Example:
        >>> size(512), size(1_500_000)
        ('512 B', '1.4 MiB')
    """
    number = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
