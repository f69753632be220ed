"""Processor, card, memory, disk and threads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from shepherd.runs import RUNS_FOLDER
from verifier.doctor.finding import Finding
from verifier.dry_run import size
from verifier.estimate import GIB
from verifier.machine import find_card

_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_LEAST_MEMORY, _LEAST_DISK, _HUB_DISK = 2 * GIB, 1 * GIB, 20 * GIB


def check_processor() -> Finding:
    """Cores and the vector units that torch and bitsandbytes use."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(re.findall(r"\w+", cpuinfo.read_text("utf-8"))) if cpuinfo.is_file() else set()
    has = [name for name in _FEATURES if name in flags]
    return Finding("processor", "ok", f"{_cores()} cores; {', '.join(has) or 'no vector unit known'}")


def check_threads() -> Finding:
    """Threads asked for against cores: more threads than cores stop each other."""
    asked, cores = os.environ.get("OMP_NUM_THREADS"), _cores()
    if asked is None:
        return Finding("threads", "note", f"OMP_NUM_THREADS is not set: {cores}, one a core", _ONE_THREAD)
    if not asked.isdecimal() or int(asked) < 1:
        found = f"OMP_NUM_THREADS is {asked!r}, no number"
        return Finding("threads", "fail", found, f"export OMP_NUM_THREADS={cores}")
    if int(asked) > cores:
        found = f"OMP_NUM_THREADS is {asked}, this process has {cores} cores"
        return Finding("threads", "fail", found, f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", "ok", f"OMP_NUM_THREADS is {asked}, of {cores} cores")


_ONE_THREAD = "small models sample fastest with 1; two processes need one each (export OMP_NUM_THREADS=1)"


def check_memory() -> Finding:
    """The machine's own memory."""
    import psutil

    memory = psutil.virtual_memory()
    found = f"{size(memory.available)} free of {size(memory.total)}"
    if memory.available < _LEAST_MEMORY:
        return Finding(
            "memory", "fail", found, f"end other programs: less than {size(_LEAST_MEMORY)} is free"
        )
    return Finding("memory", "ok", found)


def check_disk() -> Iterator[Finding]:
    """Room for runs, and for models of the hub."""
    free = _free(RUNS_FOLDER)
    if free < _LEAST_DISK:
        fix = f"free some, or give --out a folder elsewhere: a run needs {size(_LEAST_DISK)}"
        yield Finding("disk for runs", "fail", f"{size(free)} free", fix)
    else:
        yield Finding("disk for runs", "ok", f"{size(free)} free")
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = _free(cache)
    if free < _HUB_DISK:
        fix = "an 8B model takes 16 GiB: export HF_HOME to a larger disk"
        yield Finding("disk for models", "note", f"{size(free)} free for {cache}", fix)
    else:
        yield Finding("disk for models", "ok", f"{size(free)} free for {cache}")


def check_card() -> Finding:
    """Card, driver and torch's CUDA together."""
    import torch

    card = find_card()
    built = torch.version.cuda
    if card is None:
        return Finding("card", "note", "no NVIDIA card; everything runs on the CPU", "")
    said = f"{card.name}, {size(card.memory_bytes)}"
    if built is None:
        fix = "install torch's CUDA build: https://pytorch.org/get-started/locally"
        return Finding("card", "fail", f"{said}; torch {torch.__version__} is a CPU build", fix)
    if not torch.cuda.is_available():
        fix = (
            f"install a driver for CUDA {built}; this one goes up to {_driver_cuda() or 'an unknown version'}"
        )
        return Finding("card", "fail", f"{said}; torch's CUDA {built} cannot use it", fix)
    major, minor = torch.cuda.get_device_capability()
    if major < 8:
        fix = "set dtype=float16 or float32: bfloat16 needs capability 8.0 (Ampere)"
        return Finding("card", "note", f"{said}, capability {major}.{minor}; CUDA {built}", fix)
    return Finding("card", "ok", f"{said}, capability {major}.{minor}; CUDA {built}")


def _driver_cuda() -> str | None:
    """The newest CUDA that the driver can run, as its own tool says."""
    try:
        shown = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"CUDA Version:\s*([\d.]+)", shown)
    return found[1] if found else None


def _cores() -> int:
    """Cores this process may use, which a container or taskset may have cut."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free(folder: Path) -> int:
    """Bytes free where a folder is, or would be."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
