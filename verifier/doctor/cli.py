"""`shepherd doctor`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from shepherd.console import clean, print_json, user_errors
from verifier.doctor.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "fail": "red"}


@click.command()
@click.option(
    "--parity",
    "verifier",
    metavar="VERIFIER",
    help="Score golden texts with this verifier through every engine that is installed.",
)
@click.option("--server", metavar="URL", help="With --parity: an endpoint that serves it.")
@click.option("--served-as", metavar="NAME", help="Its name there.  [default: the verifier's]")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def doctor(
    context: click.Context, verifier: str | None, server: str | None, served_as: str | None, as_json: bool
) -> None:
    """Check this machine: versions, processor and card, 4-bit gradients, memory, disk, threads, hub.

    Exit code 1 if a line fails; each such line says what to do. With --parity an engine fails whose scores
    are further than 0.001 from those of transformers in float32.
    """
    if verifier is None and (server is not None or served_as is not None):
        raise click.UsageError("--server and --served-as need --parity VERIFIER")
    with user_errors():
        if verifier is not None:
            from verifier.places import find_place

            find_place(verifier)  # before the machine is examined: a wrong name costs no time
        found = list(examine())
        if verifier is not None:
            from verifier.doctor.engines import compare_engines

            found += compare_engines(verifier, server, served_as)
    failed = sum(each.state == "fail" for each in found)
    if as_json:
        print_json({"failed": failed, "findings": [each._asdict() for each in found]})
    else:
        for each in found:
            state = click.style(f"{each.state:<4}", fg=_COLOURS[each.state])
            click.echo(
                f"{state}  {each.name}: {clean(each.found)}" + (f"\n      {each.fix}" if each.fix else "")
            )
        click.echo(f"{failed} failed" if failed else "all well")
    if failed:
        context.exit(1)


def examine() -> Iterator[Finding]:
    """Every check, in the order of the table."""
    from verifier.doctor import machine
    from verifier.doctor.four_bit import check_four_bit
    from verifier.doctor.hub import check_hub
    from verifier.doctor.versions import check_versions

    yield from check_versions()
    yield machine.check_processor()
    yield machine.check_threads()
    yield machine.check_memory()
    yield from machine.check_disk()
    yield machine.check_card()
    yield check_four_bit()
    yield from check_hub()
