"""``shepherd store``: what is kept, and how to share it or be rid of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shepherd.console import duration, print_json, size, table, user_errors
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from shepherd.columns import Listed
    from shepherd.entries import Stored
    from shepherd.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@click.group()
def store() -> None:
    """What was sampled, scored or tokenised once, and is not computed again.

    It lies in $SHEPHERD_STORE, else in shepherd/store in the user's cache. Every command that samples, scores
    or trains a verifier uses it by itself, and says what it took from it; --no-store, or the config key
    store=false, makes it go without. Training rows are kept with their tokens where the data has a megabyte
    or more.
    """


_ENTRIES = ("pool", "scores")
_COLUMNS = ("rows", "tokens")  # `shepherd.columns.KINDS`: to import it takes numpy


def _filters(kinds: Sequence[str], kinds_help: str) -> Callable[[F], F]:
    """``--kind``, ``--model`` and ``--plan``: which entries."""

    def filtered(command: F) -> F:
        options = [
            click.option("--kind", type=click.Choice(kinds), help=kinds_help),
            click.option("--model", metavar="TEXT", help="Only where the model's name has TEXT in it."),
            click.option(
                "--plan", metavar="PREFIX", help="Only the plan with this id (see shepherd store ls)."
            ),
        ]
        for option in reversed(options):
            command = option(command)
        return command

    return filtered


_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@store.command()
@_filters((*_ENTRIES, *_COLUMNS), "Only candidates, scores, training rows or their tokens.")
@_as_json
def ls(kind: str | None, model: str | None, plan: str | None, as_json: bool) -> None:
    """List what is kept: a line a plan (all that decides the values but the problem).

    Each line says what it holds: candidates and scores of problems, rows and tokens of training data.
    """
    from shepherd.store_list import group

    with user_errors():
        opened = _existing()
        entries = () if opened is None else _chosen(opened, kind, model, plan)
        groups = group(entries, _chosen_columns(kind, model, plan))
    now = time.time()
    if as_json:
        print_json({"store": str(_folder()), "entries": [each.to_json() for each in groups]})
    elif not groups:
        click.echo(f"no entries in {_folder()}")
    else:
        rows = [
            (each.kind, each.model, each.id, each.holds, size(each.size_bytes), duration(now - each.newest))
            for each in groups
        ]
        table(f"Store {_folder()}", _HEADER, rows)


_HEADER = ["kind", "model", "plan", "holds", "size", "age"]


@store.command()
@click.argument("file", type=click.Path(path_type=Path))
@_filters(_ENTRIES, "Only candidates, or only scores.")
@_as_json
def export(file: Path, kind: str | None, model: str | None, plan: str | None, as_json: bool) -> None:
    """Write entries to FILE (.jsonl, .jsonl.gz, .jsonl.xz), the same bytes every time.

    Rows and tokens of training data are not among them: they are quicker made than sent.
    """
    from shepherd.store_exchange import export_entries

    with user_errors():
        opened = _existing()
        count = export_entries([] if opened is None else _chosen(opened, kind, model, plan), file)
    _say(as_json, {"file": str(file), "entries": count}, f"{count:,} entries: {file}")


@store.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take FILE's value where the store has another.")
@_as_json
def import_(file: Path, replace: bool, as_json: bool) -> None:
    """Add the entries of FILE, which shepherd store export wrote.

    All of FILE is checked before its first entry is kept. Import from those you trust: no check can tell
    whether a model wrote what the file says it did.
    """
    from shepherd.store import Store, default_folder
    from shepherd.store_exchange import import_entries

    with user_errors(), Store(default_folder()) as opened:
        done = import_entries(opened, file, replace)
    text = f"{done.added:,} added, {done.already_there:,} already there, {done.replaced:,} replaced"
    _say(as_json, done._asdict(), text)


@store.command()
@click.option("--older-than", metavar="AGE", help="Drop entries made longer ago: 90m, 36h, 30d, 8w.")
@click.option("--max-size", metavar="SIZE", help="Then drop the oldest until the rest is no more: 500M, 2G.")
@_as_json
def prune(older_than: str | None, max_size: str | None, as_json: bool) -> None:
    """Drop old entries; what is dropped is computed again when it is asked for."""
    from shepherd import columns
    from shepherd.store_list import to_prune

    with user_errors():
        if older_than is None and max_size is None:
            raise ShepherdError("store prune: say what may go, with --older-than AGE or --max-size SIZE")
        age_s = None if older_than is None else _amount("--older-than", older_than, _SECONDS, "30d")
        most = None if max_size is None else _amount("--max-size", max_size, _BYTES, "2G")
        opened = _existing()
        folders = [each.age for each in columns.listed()]
        entries = [] if opened is None else opened.ages()
        rows = to_prune([*entries, *folders], time.time(), age_s, most)
        dropped, freed = [row.hash for row in rows], sum(row.size_bytes for row in rows)
        columns.remove([each for each in dropped if each in {folder.hash for folder in folders}])
        if opened is not None:
            opened.remove(dropped)
            opened.compact()
    _say(
        as_json, {"dropped": len(dropped), "bytes": freed}, f"{len(dropped):,} entries dropped, {size(freed)}"
    )


@store.command()
def path() -> None:
    """Print the store's folder."""
    click.echo(_folder())


@store.command()
@click.option("--drop", is_flag=True, help="Drop the entries that are damaged.")
@_as_json
def verify(drop: bool, as_json: bool) -> None:
    """Check the file and every entry against its hashes; exit code 1 where something is damaged."""
    from shepherd import columns

    with user_errors():
        opened = _existing()
        folders = columns.faults()
        count, faults = len(folders), {name: fault for name, fault in folders.items() if fault is not None}
        if drop:
            columns.remove(list(faults))
        for row in opened.stored() if opened is not None else ():
            count += 1
            if (fault := row.fault()) is not None:
                faults[row.hash] = fault
        damage = [] if opened is None else opened.damage()
        if drop and opened is not None:
            opened.remove(list(faults))
    lines = [*damage, *(f"entry {address[:12]}: {fault}" for address, fault in faults.items())]
    done = f"{count:,} entries, {len(faults):,} damaged" + (" and dropped" if drop and faults else "")
    _say(as_json, {"entries": count, "damaged": faults, "file": damage}, "\n".join([*lines, done]))
    if damage or (faults and not drop):
        raise SystemExit(1)


def _say(as_json: bool, result: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(result)
    else:
        click.echo(text)


def _folder() -> Path:
    from shepherd.store import default_folder

    return default_folder()


def _existing() -> Store | None:
    """The store; None where there is none yet, and looking makes none."""
    from shepherd.store import DATABASE, Store

    folder = _folder()
    if not (folder / DATABASE).exists():
        return None
    opened = Store(folder)
    click.get_current_context().call_on_close(opened.close)
    return opened


def _chosen(opened: Store, kind: str | None, model: str | None, plan: str | None) -> Iterator[Stored]:
    from shepherd.store_list import plan_id

    for row in opened.stored():
        if kind not in (None, row.kind) or (model or "").lower() not in row.model.lower():
            continue
        if plan is None or plan_id(row).startswith(plan):
            yield row


def _chosen_columns(kind: str | None, model: str | None, plan: str | None) -> Iterator[Listed]:
    from shepherd.columns import listed
    from shepherd.store_list import columns_id

    for each in listed():
        if kind not in (None, each.kind) or (model or "").lower() not in each.model.lower():
            continue
        if columns_id(each).startswith(plan or ""):
            yield each


def _amount(option: str, text: str, units: dict[str, int], example: str) -> float:
    """A number with a unit, in seconds or bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([AC-Zac-z]?)(?:i?[Bb])?", text)
    unit = None if found is None else next((u for u in units if u.lower() == found[2].lower()), None)
    if found is None or unit is None:
        known = ", ".join(each for each in units if each)
        raise ShepherdError(f"{option} {text}: expected a number and one of {known}, as in {example}")
    return float(found[1]) * units[unit]
