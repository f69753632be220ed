"""How long the command line takes to answer, and what it imports: every --help, and packages without torch.

    .venv/bin/python benchmarks/cold_start.py            (a minute)
    .venv/bin/python benchmarks/cold_start.py --smoke    (seconds; once each, nothing written)

Each is a fresh interpreter, timed from outside; the median of several runs, the first of which (cold files)
is not counted. The load stands beside the times, since a busy machine slows them. What a command imports is
read from `sys.modules` at its end: no heavy library may be there. The imports that take longest are those of
``python -X importtime``, each with what it imports itself. Results go to benchmarks/results/cold_start.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from record.machine import keep, machine
from record.tables import show

from shepherd.cli import COMMANDS

HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "bitsandbytes", "vllm", "sklearn", "matplotlib")
LIGHT = ("eval", "shepherd")
"""Packages that import no torch, whichever of their modules is asked for."""
TOP = 3
_HELP = """
import sys
from shepherd.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
"""
_LOADED = """
import json
print("\\n" + json.dumps(sorted(set({heavy!r}) & set(sys.modules))))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="one run each, nothing written")
    arguments.add_argument("--runs", type=int, default=9, help="of each command")
    asked = arguments.parse_args()
    on = machine()
    runs = 1 if asked.smoke else asked.runs
    helps = [(), *((name,) for name in (list(COMMANDS)[:2] if asked.smoke else COMMANDS))]
    programs = {
        " ".join(("shepherd", *each, "--help")): _HELP.format(arguments=[*each, "--help"]) for each in helps
    }
    programs |= {f"import {name}": f"import sys, {name}\n" for name in LIGHT}
    found = []
    for name, program in programs.items():
        found.append(measure(name, program, runs))
        print(f"  {name:32} {1000 * found[-1]['median_s']:6.0f} ms", flush=True)
    result = {"runs": runs, "programs": found, "modules": {name: torch_free(name) for name in LIGHT}}
    show("cold_start", result)
    if not asked.smoke:
        keep("cold_start", on, result)


def measure(name: str, program: str, runs: int) -> dict[str, Any]:
    """Seconds of a program, what it loaded of the heavy libraries, and its slowest imports."""
    seconds = [timed(program) for _ in range(runs + 1)][1:]
    loaded = json.loads(output(program + _LOADED.format(heavy=HEAVY)).splitlines()[-1])
    return {
        "name": name,
        "median_s": statistics.median(seconds),
        "least_s": min(seconds),
        "most_s": max(seconds),
        "heavy": loaded,
        "slowest_imports": slowest(program),
    }


def timed(program: str) -> float:
    """Seconds from the start of an interpreter to its end."""
    started = time.perf_counter()
    output(program)
    return time.perf_counter() - started


def output(program: str, *options: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run(
        [sys.executable, *options, "-c", program], check=True, capture_output=True, text=True
    ).stdout


def slowest(program: str) -> list[dict[str, Any]]:
    """The outermost imports that take longest, each with all that it imports."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program], check=True, capture_output=True, text=True
    ).stderr
    lines = [line.removeprefix("import time:").split("|") for line in said.splitlines() if "|" in line]
    rows = [(int(both), text) for _, both, text in lines if both.strip().isdigit()]
    outermost = min((len(text) - len(text.lstrip()) for _, text in rows), default=0)
    top = [(both, text.strip()) for both, text in rows if len(text) - len(text.lstrip()) == outermost]
    top.sort(reverse=True)
    return [{"module": name, "ms": round(both / 1000, 1)} for both, name in top[:TOP]]


def torch_free(package: str) -> dict[str, Any]:
    """Import every module of a package in one fresh interpreter; which heavy libraries that brought."""
    modules = modules_of(package)
    program = "import sys\n" + "\n".join(f"import {name}" for name in modules) + "\n"
    loaded = json.loads(output(program + _LOADED.format(heavy=HEAVY)).splitlines()[-1])
    if "torch" in loaded:
        sys.exit(f"{package}: one of its modules imports torch")
    return {"modules": len(modules), "heavy": loaded}


def modules_of(package: str) -> Sequence[str]:
    """Names of a package's modules, but for those that run when imported."""
    found = importlib.import_module(package)
    names = [each.name for each in pkgutil.walk_packages(found.__path__, f"{package}.")]
    return [package, *(name for name in names if not name.endswith("__main__"))]


if __name__ == "__main__":
    main()
