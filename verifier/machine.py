"""What this machine has to run on. torch is not asked: a plan is to be made in a moment, and without it."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

_ASK_S = 10.0


class Machine(NamedTuple):
    """Where a run would go: ``cuda`` or ``cpu``, its name, and its whole memory in bytes."""

    device: str
    name: str
    memory_bytes: int


def find_machine(device: str) -> Machine | None:
    """The card, or the machine itself, that ``auto``, ``cuda`` or ``cpu`` means; None for a card not here."""
    card = None if device == "cpu" else find_card()
    if card is not None or device == "cuda":
        return card
    import psutil

    return Machine("cpu", f"{os.cpu_count()} cores", psutil.virtual_memory().total)


def find_card() -> Machine | None:
    """The first NVIDIA card that this process may use, as the driver's own tool names it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if visible is None else visible.partition(",")[0].strip()
    if chosen in ("", "-1"):
        return None
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    if chosen is not None:
        asked.append(f"--id={chosen}")
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_card(answer)


def parse_card(answer: str) -> Machine | None:
    """Read the first line of the tool's answer: name, MiB.

    Example:
        >>> parse_card("NVIDIA RTX 4090, 24564")
        Machine(device='cuda', name='NVIDIA RTX 4090', memory_bytes=25757220864)
        >>> parse_card("No devices were found") is None
        True
    """
    name, comma, size = answer.strip().partition("\n")[0].rpartition(",")
    if not comma or not size.strip().isdecimal():
        return None
    return Machine("cuda", name.strip(), int(size) << 20)
