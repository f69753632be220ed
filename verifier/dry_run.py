"""What ``--dry-run`` prints, for every command: the resolved config, how much work it is, and the memory.

A dry run reads no weights, downloads nothing and writes nothing. What cannot be known without the model or
the data is said to be unknown, with what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from shepherd.config import Config, dump_yaml
from shepherd.console import print_json, table
from verifier.estimate import GIB, Estimate
from verifier.estimate.parts import CONTEXT_BYTES
from verifier.machine import Machine, find_machine

ASKED_GIB = 24
"""The card that every plan is held against: what a researcher has under the desk."""


class Unknown(NamedTuple):
    """A fact that cannot be known yet.

    Attributes:
        until: ``the data is``, ``the model is``.
        missing: what exactly is not on this machine.
    """

    until: str
    missing: str


Fact = int | float | str | Unknown


class Stage(NamedTuple):
    """One stage of a command: its memory, or why that is not known.

    Attributes:
        name: ``training``, ``sampling``, ``scoring``.
        memory: parts and total, or what is missing.
    """

    name: str
    memory: Estimate | Unknown


class Plan(NamedTuple):
    """What a command would do.

    Attributes:
        facts: names with numbers.
        stages: run one after the other; the largest is what the machine must hold.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    facts: Mapping[str, Fact]
    stages: tuple[Stage, ...] = ()
    device: str = "auto"


def show_dry_run(command: str, config: Config, plan: Plan, as_json: bool) -> None:
    """Print a plan: YAML and tables, or one JSON document."""
    machine = find_machine(plan.device) if plan.stages else None
    if as_json:
        print_json(to_json(config, plan, machine))
        return
    click.echo(dump_yaml(config))
    rows = [(name.replace("_", " "), _shown(value)) for name, value in plan.facts.items()]
    missing = dict.fromkeys(value.missing for value in plan.facts.values() if isinstance(value, Unknown))
    if rows:
        table(f"{command}, a dry run", ("", "value"), rows)
    for line in missing:
        click.echo(line)
    for stage in plan.stages:
        _show_stage(stage, machine)


def to_json(config: Config, plan: Plan, machine: Machine | None) -> dict[str, Any]:
    """A plan as plain data: memory in bytes by stage, null for what is unknown, and what is missing."""
    unknown = {name: value.missing for name, value in plan.facts.items() if isinstance(value, Unknown)}
    memory: dict[str, Any] = {}
    for stage in plan.stages:
        if isinstance(stage.memory, Unknown):
            unknown[f"memory.{stage.name}"] = stage.memory.missing
            memory[stage.name] = None
        else:
            memory[stage.name] = stage.memory.to_json()
    return {
        "config": config.model_dump(mode="json"),
        **{name: None if isinstance(value, Unknown) else value for name, value in plan.facts.items()},
        "memory": memory,
        "unknown": unknown,
        "machine": None if machine is None else machine._asdict(),
    }


def _shown(value: Fact) -> str:
    if isinstance(value, Unknown):
        return f"unknown until {value.until}"
    return value if isinstance(value, str) else f"{value:,}"


def _show_stage(stage: Stage, machine: Machine | None) -> None:
    title = f"memory of {stage.name}, an estimate"
    memory = stage.memory
    if isinstance(memory, Unknown):
        table(title, ("part", "size"), [("all of it", _shown(memory))])
        click.echo(memory.missing)
        return
    rows: list[tuple[str, str, str]] = []
    for part in memory.parts:
        how = part.how if part.at_peak else f"{part.how}; gone before the worst moment"
        rows.append((part.name, size(part.bytes) if part.at_peak else f"({size(part.bytes)})", how))
    rows.append(("at the worst moment", size(memory.total), "tensors, as torch counts them"))
    rows.append(("on a card", size(memory.on_card), f"with {size(CONTEXT_BYTES)} for CUDA itself"))
    table(title, ("part", "size", "counted as"), rows)
    click.echo(verdict(memory, machine))


def verdict(memory: Estimate, machine: Machine | None) -> str:
    """Whether it fits: the card it is held against, the smallest that will do, and what is here.

    Example:
        >>> from verifier.estimate import Part
        >>> verdict(Estimate((Part("weights", 13 * GIB, ""),)), Machine("cpu", "2 cores", 8 * GIB))
        'fits 24 GiB (16 GiB will do); does not fit this machine: cpu, 2 cores, 8.0 GiB'
    """
    card = memory.card_gib()
    said = f"fits {ASKED_GIB} GiB" if memory.fits(ASKED_GIB * GIB) else f"does not fit {ASKED_GIB} GiB"
    said += " (no common card holds it)" if card is None else f" ({card} GiB will do)"
    if machine is None:
        return said
    fits = memory.fits(machine.memory_bytes)
    here = f"{machine.device}, {machine.name}, {size(machine.memory_bytes)}"
    return f"{said}; {'fits' if fits else 'does not fit'} this machine: {here}"


def size(count: int) -> str:
    """Bytes in GiB, or in MiB where that says more.

    Example:
        >>> size(3 * GIB), size(GIB // 8), size(5000)
        ('3.0 GiB', '128 MiB', '0 MiB')
    """
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.0f} MiB"
