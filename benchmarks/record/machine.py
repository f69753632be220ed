"""What a measurement ran on, and where its figures are kept: the same for every benchmark."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shepherd.files import read_json, write_json

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "numpy", "scipy")
"""Whose version can move a figure; what is not installed is left out."""


def machine() -> dict[str, Any]:
    """Describe this machine as it is now; call it before the measurement, so that the load is not its own.

    Returns:
        ``cpu`` by name, ``cores``, ``threads`` of torch (of OpenMP where torch is not loaded; null where
        nobody set them), ``load`` over the last minute (processes that run or wait), ``gpu`` (null for none),
        ``versions`` and the ``date`` in UTC.
    """
    torch = sys.modules.get("torch")
    asked = os.environ.get("OMP_NUM_THREADS")
    threads = torch.get_num_threads() if torch is not None else None if asked is None else int(asked)
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "gpu": gpu,
        "versions": {"python": platform.python_version(), **_versions()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def keep(name: str, on: Mapping[str, Any], found: Mapping[str, Any]) -> Path:
    """Write ``results/<name>.json``: the machine as it was before, then what was found."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"machine": on, **found})
    print(f"\nwritten: benchmarks/results/{path.name}")
    return path


def keep_entry(name: str, entry: str, on: Mapping[str, Any], found: Mapping[str, Any]) -> Path:
    """Put one entry, with its own machine, beside the others of ``results/<name>.json``."""
    path = RESULTS / f"{name}.json"
    entries = read_json(path)["entries"] if path.exists() else {}
    write_json(path, {"entries": {**entries, entry: {"machine": on, **found}}})
    print(f"\nwritten: {entry} of benchmarks/results/{path.name}")
    return path


def _cpu() -> str:
    """The processor's name; platform knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
