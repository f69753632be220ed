"""The files of a published checkpoint, in a folder or from the hub, and their identity. No torch here."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shepherd.errors import ShepherdError
from shepherd.files import sha256_file

_DTYPES = ("float32", "bfloat16", "float16")
_WEIGHTS = ("*.safetensors", "*.bin")
_SMALL = ("*.json", "*.model", "*.jinja", "*.txt")
NEEDED = "config.json, *.safetensors, tokenizer.json (or tokenizer.model), tokenizer_config.json"


class Checkpoint(NamedTuple):
    """A checkpoint's folder, and what tells its weights from any others."""

    folder: Path
    identity: str


def locate(name: str, folder: Path | None, *, with_code: bool = False) -> Checkpoint:
    """Find a checkpoint, downloading it where the hub has it and the machine has not.

    Args:
        name: as the user gave it.
        folder: where it lies; None for a name on the hub.
        with_code: take the checkpoint's Python files too.
    """
    if folder is None:
        folder = _from_hub(name, [*_SMALL, *(["*.py"] if with_code else [])])
    if not _weights(folder) or not (folder / "config.json").is_file():
        raise ShepherdError(f"{name}: {folder} is not a whole checkpoint; put there {NEEDED}")
    return Checkpoint(folder, _identity(folder))


def own_dtype(asked: str, config: Mapping[str, Any], device: str) -> str:
    """The dtype a checkpoint is loaded in.

    Args:
        asked: ``auto`` is the checkpoint's own on a GPU, and float32 on the CPU, where 16 bits save nothing
            but memory.
        config: its ``config.json``.
        device: ``cpu`` or ``cuda``.

    Example:
        >>> own_dtype("auto", {"torch_dtype": "bfloat16"}, "cuda"), own_dtype("auto", {}, "cuda")
        ('bfloat16', 'float32')
    """
    if asked != "auto":
        return asked
    stated = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return stated if device != "cpu" and stated in _DTYPES else "float32"


def _from_hub(name: str, small: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # Subfolders hold the same weights in other formats (original/, onnx/).
    ignore = ["*/*"]
    try:
        for weights in _WEIGHTS:
            found = snapshot_download(name, allow_patterns=[*small, weights], ignore_patterns=ignore)
            if any(Path(found).glob(weights)):
                break
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
        cause = "HF_HUB_OFFLINE is set" if offline else (str(error).strip() or type(error).__name__)
        raise ShepherdError(
            f"{name}: no such folder, not in the hub's cache, and the hub did not give it "
            f"({cause.splitlines()[0][:120]}); put {NEEDED} into a folder and give it with --verifier FOLDER"
        ) from error
    return Path(found)


def _weights(folder: Path) -> list[Path]:
    """The weights that transformers would load: safetensors where there are any."""
    for pattern in _WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _identity(folder: Path) -> str:
    """Hash of config and weights; a hub snapshot is named by its commit, so its files need not be read."""
    if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name):
        return folder.name
    digest = hashlib.sha256()
    for path in [folder / "config.json", *_weights(folder)]:
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()
