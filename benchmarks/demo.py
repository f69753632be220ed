"""`shepherd demo` by stage: what each takes and what it is made of, beside its budget.

    .venv/bin/python benchmarks/demo.py            (under 3 minutes)
    .venv/bin/python benchmarks/demo.py --smoke    (half a minute; a few problems, nothing written)

The command runs as a user runs it, in a process of its own with its default config, into a folder that goes
away. The stages are timed by the command itself and stand in its ``--json``; around them is what it takes to
start, import and end. Results go to benchmarks/results/demo.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record.machine import keep, machine
from record.tables import show

from generation.config import DemoConfig
from shepherd.config import load_config

SMALL = (
    "problems.limit=4",
    "n=2",
    "training.overrides=[limit=100, max_steps=1, eval_limit=20, tensorboard=false, threads=1]",
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="a few problems, nothing written")
    asked = arguments.parse_args()
    on = machine()
    overrides = SMALL if asked.smoke else ()
    config = load_config(DemoConfig, "demo", "embedded", overrides)
    found, whole_s = run(overrides)
    stages = {
        name: {"seconds": seconds, "budget_s": config.budget_s[name], "parts": found["parts"][name]}
        for name, seconds in found["seconds"].items()
    }
    result = {
        "problems": found["weak"]["problems"],
        "n": config.n,
        "seed": config.seed,
        "threads": config.threads,
        "seconds": whole_s,
        "stages": stages,
    }
    show("demo", result)
    if not asked.smoke:
        keep("demo", on, result)


def run(overrides: tuple[str, ...]) -> tuple[dict[str, Any], float]:
    """What the command says in JSON, and the seconds from its start to its end."""
    settings = [part for each in overrides for part in ("--set", each)]
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "shepherd",
                "demo",
                "--json",
                "--out",
                str(Path(folder) / "run"),
                *settings,
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(done.stdout), time.monotonic() - started


if __name__ == "__main__":
    main()
