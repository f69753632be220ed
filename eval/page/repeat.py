"""What a run cost, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from eval.page.blocks import Block, Code, Table
from eval.page.read import Candidates, ReadRun
from shepherd.console import duration


def repeat(run: ReadRun) -> Iterator[Block]:
    """Command, config, versions, seeds, inputs."""
    manifest = run.manifest
    argv = [str(each) for each in manifest.get("argv") or []]
    if argv:
        yield Code("Command", shlex.join(["shepherd", *argv[1:]]))
    git, device = manifest.get("git"), manifest.get("device") or {}
    facts = {
        "run directory": str(run.path),
        "began": str(manifest.get("created", "")),
        "ended": run.finished,
        "code": f"{git['sha']}{' with local changes' if git.get('dirty') else ''}"
        if git
        else "an installed package",
        "seeds": ", ".join(f"{name} {value}" for name, value in (manifest.get("seeds") or {}).items()),
        "machine": ", ".join(
            str(part)
            for part in (
                device.get("cpu"),
                device.get("cores") and f"{device['cores']} cores",
                device.get("gpu"),
            )
            if part
        ),
        "platform": str(manifest.get("platform", "")),
        "parents": ", ".join(str(each) for each in manifest.get("parents") or []),
    }
    yield Table("The run", ["what", "value"], [[name, value] for name, value in facts.items() if value])
    versions = {"python": manifest.get("python", ""), **(manifest.get("versions") or {})}
    rows = [[name, str(version)] for name, version in versions.items()]
    yield Table("Versions", ["package", "version"], rows, folded=True)
    inputs = manifest.get("inputs") or {}
    if inputs:
        rows = [[name, str(digest)] for name, digest in inputs.items()]
        yield Table("Inputs", ["file", "SHA-256"], rows, folded=True)
    if run.config_text:
        yield Code("Config, resolved", run.config_text, folded=True)


def cost(run: ReadRun, given: Sequence[Candidates]) -> Table:
    """What is known of the run's cost; what is not recorded is said to be so.

    Args:
        run: the run.
        given: its pools and scores; a pool that several verifiers scored counts once.
    """
    rows = []
    pools = {each.file: each.pools for each in given}
    scores = [line for each in given for line in each.scores or ()]
    if pools:
        candidates = [each for mine in pools.values() for pool in mine for each in pool.candidates]
        counted = [each.tokens for each in candidates if each.tokens is not None]
        rows.append(["candidates", f"{len(candidates):,}"])
        if counted:
            known = "" if len(counted) == len(candidates) else f" (known of {len(counted):,} candidates)"
            rows.append(["tokens generated", f"{sum(counted):,}{known}"])
        else:
            rows.append(["tokens generated", "not recorded in this pool"])
    if scores:
        steps = sum(len(each) for line in scores for each in line.step_scores)
        rows.append(["steps scored", f"{steps:,}"])
    recorded: Mapping[str, Any] = run.results.get("cost") or {}
    rows += [
        [name.replace("_", " "), f"{value:,}"]
        for name, value in recorded.items()
        if isinstance(value, int | float)
    ]
    took = _seconds(str(run.manifest.get("created", "")), run.finished)
    if took is not None:
        stops = len(run.manifest.get("resumed") or [])
        rows.append(["from begin to end", duration(took) + (f", resumed {stops} times" if stops else "")])
    return Table("Cost", ["what", "value"], rows)


def _seconds(began: str, ended: str) -> float | None:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except (TypeError, ValueError):
        return None
