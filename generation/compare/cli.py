"""`shepherd compare`. Heavy imports stay inside the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from shepherd import console
from shepherd.answers import POOL_FORMATS
from shepherd.console import RunOptions, run_options, store_option
from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    pass


@click.command()
@click.option(
    "--generator", "generators", multiple=True, metavar="NAME=MODEL", help="A generator; repeat it."
)
@click.option(
    "--pool", "pools", multiple=True, metavar="NAME=FILE", help="Candidates made before; repeat it."
)
@click.option("--pool-format", type=click.Choice(POOL_FORMATS), help="Format of every --pool.")
@click.option("--verifier", "verifiers", multiple=True, metavar="NAME=DIR", help="A verifier; repeat it.")
@click.option("--no-verifier", is_flag=True, help="Majority vote and pass@n alone.")
@click.option("--n", type=click.IntRange(min=1), help="Candidates a problem.")
@click.option("--problems", metavar="SOURCE", help="embedded, gsm8k, a file or a folder.")
@store_option
@run_options
def compare(
    options: RunOptions,
    generators: Sequence[str],
    pools: Sequence[str],
    pool_format: str | None,
    verifiers: Sequence[str],
    no_verifier: bool,
    n: int | None,
    problems: str | None,
    no_store: bool,
) -> None:
    """Compare generators, each with the same verifiers on the same problems.

    Says of every pair what differs, paired over problems, what it cost in tokens, and whether the verifier
    helps the weak generator more than the strong one. Generators and verifiers that are named here take the
    place of the config's: --generator weak=embedded:weak --pool llama=FILE --verifier mine=runs/train-prm-…
    """
    from generation.compare.config import CompareConfig
    from generation.compare.run import compare as run_comparison
    from generation.compare.run import inputs_of, read_all, read_results
    from generation.compare.show import show_comparison
    from shepherd.invocation import resolve
    from shepherd.runs import Run

    if verifiers and no_verifier:
        raise ShepherdError("--verifier and --no-verifier exclude each other; give one of them")
    more = _asked(generators, pools, pool_format, verifiers, no_verifier)
    # Pools have their own size, which the shipped n need not be.
    more += [f"n={json.dumps(n)}"] if n is not None or pools else []
    named = {"problems.source": problems, "store": False if no_store else None}
    asked = resolve("compare", CompareConfig, options, named, more)
    run, config = asked.run, asked.config
    if options.dry_run:
        from generation.plan import plan_compare
        from verifier.dry_run import show_dry_run

        show_dry_run("compare", config, plan_compare(config), options.as_json)
        return
    if run is not None and run.is_done:
        result = read_results(run.path)
    else:
        given = read_all(config)
        run = run or Run.create("compare", config, options.out, {"seed": config.seed}, inputs_of(config))
        click.echo(f"run: {run.path}", err=True)
        result = run_comparison(config, run.path, run.log, given)
        run.finish()
    if options.as_json:
        console.print_json(result)
    else:
        show_comparison(result, run.path)


def _asked(
    generators: Sequence[str],
    pools: Sequence[str],
    pool_format: str | None,
    verifiers: Sequence[str],
    no_verifier: bool,
) -> list[str]:
    """The config keys that the options stand for."""
    if pool_format is not None and not pools:
        raise ShepherdError("--pool-format: of which pool? give --pool NAME=FILE")
    named: dict[str, dict[str, object]] = {}
    for name, model in _pairs("--generator", generators):
        named[name] = {"overrides": [f"model={json.dumps(model)}"]}
    for name, file in _pairs("--pool", pools):
        form = [] if pool_format is None else [f"pool.format={pool_format}"]
        named[name] = {"overrides": [f"pool.file={json.dumps(file)}", *form]}
    if len(named) < len(generators) + len(pools):
        raise ShepherdError("--generator, --pool: a name stands there twice; give each its own")
    # The shape is the shipped verifier's; another one says its own.
    others = {
        name: {"verifier": where, "overrides": ["verifier_shape=null"]}
        for name, where in _pairs("--verifier", verifiers)
    }
    if len(others) < len(verifiers):
        raise ShepherdError("--verifier: a name stands there twice; give each its own")
    found = [f"generators={json.dumps(named)}"] if named else []
    found += ["problems=null"] if pools else []
    return found + ([f"verifiers={json.dumps(others)}"] if others or no_verifier else [])


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise ShepherdError(f"{option} {each}: expected NAME=…, as in {option} mine={each}")
        pairs.append((name, value))
    return pairs
