"""What a model is, for the store: its content and not its name, which another model can have tomorrow.

A folder is known by the SHA-256 of its files, a hub name by the commit of its snapshot in the local cache.
The library versions that compute belong to what computed: another version may round otherwise, and a run with
the store must write the same bytes as a run without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from shepherd.assets import resolve_model
from shepherd.files import read_json
from shepherd.store import Store

_WEIGHTS = ("*.safetensors", "*.bin", "*.py", "config.json", "generation_config.json", "adapter_config.json")
_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "spiece.model",
    "*.tiktoken", "tekken.json", "chat_template*", "additional_chat_templates/*.jinja",
)  # fmt: skip


def model_identity(name: str, store: Store) -> dict[str, Any] | None:
    """Tell a model from every other.

    Args:
        name: ``embedded:weak``, a folder (a model's or an adapter's), or a hub name.
        store: Remembers the hashes of files: 16 GB are not read twice.

    Returns:
        ``sha256`` and ``tokenizer`` of a folder (``base`` beside them for an adapter's), ``hub`` and
        ``commit`` of a hub name; None where nothing can be told: a hub name that the local cache has not.
    """
    folder = Path(resolve_model(name))
    if not _is_folder(folder):
        commit = _cached_commit(name)
        return None if commit is None else {"hub": name, "commit": commit}
    found: dict[str, Any] = {
        "sha256": _folder_sha256(folder, _WEIGHTS, store),
        "tokenizer": _folder_sha256(folder, _TOKENIZER, store),
    }
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        found["base"] = model_identity(base, store) if isinstance(base, str) else None
        if found["base"] is None:
            return None
    return found


def adapter_identity(folder: Path, store: Store) -> dict[str, str]:
    """Tell an adapter from every other; which base it is put on is the model's own identity."""
    return {"sha256": _folder_sha256(folder, _WEIGHTS, store)}


def model_label(name: str) -> str:
    """A model's name as others may read it: a folder without the path it lies in.

    Example:
        >>> model_label("embedded:weak"), model_label("TinyLlama/TinyLlama_v1.1")
        ('embedded:weak', 'TinyLlama/TinyLlama_v1.1')
        >>> model_label("/")
        'folder'
    """
    path = Path(name)
    return (path.resolve().name or "folder") if path.is_absolute() or _is_folder(path) else name


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed, without the build's own mark.

    Example:
        >>> versions(["click", "no-such-package"]).keys()
        dict_keys(['click'])
    """
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package).partition("+")[0]  # "2.13.0+cpu": the device says it
        except metadata.PackageNotFoundError:
            continue
    return found


def _is_folder(path: Path) -> bool:
    """Is it one? What the file system cannot name is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _folder_sha256(folder: Path, patterns: Iterable[str], store: Store) -> str:
    """Hash of names and contents of the files that match."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    listed = [f"{file.relative_to(folder).as_posix()}\0{store.file_sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _cached_commit(name: str) -> str | None:
    """Commit of the snapshot that the hub's cache has of a name; nothing is asked of the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for file in ("config.json", "adapter_config.json"):
        try:
            found = try_to_load_from_cache(name, file)
        except HFValidationError:  # not a name that the hub could have
            return None
        if isinstance(found, str):
            return Path(found).parent.name
    return None
