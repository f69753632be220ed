"""The packaged data of the embedded world: models, training rows, a pool."""

from __future__ import annotations

from pathlib import Path

from shepherd.errors import ShepherdError

_FOLDER = Path(__file__).parent / "assets" / "embedded"
_FILES = {"rows": "rows.jsonl.xz", "test-rows": "test-rows.jsonl.xz", "pool": "pool.jsonl.xz"}
_FOLDERS = ("tokenizer", "weak", "strong", "base", "verifier")

PREFIX = "embedded:"
"""Marks the name of a packaged model where a config takes a folder or a hub name: ``embedded:weak``."""


def asset(name: str) -> Path:
    """Path of a packaged asset.

    Args:
        name: A model folder (``tokenizer``, ``weak``, ``strong``, ``base``, ``verifier``) or a file
            (``rows``: training rows, ``test-rows``: rows of test problems, ``pool``: a small candidate pool).

    Raises:
        ShepherdError: if there is no asset of this name, or it was not built.
    """
    if name not in _FILES and name not in _FOLDERS:
        raise ShepherdError(
            f"{PREFIX}{name}: no such packaged asset; there are: {', '.join((*_FOLDERS, *_FILES))}"
        )
    path = _FOLDER / _FILES.get(name, name)
    if not path.exists():
        raise ShepherdError(
            f"{path}: the packaged asset {name!r} is not there; build it with: make embedded-models"
        )
    return path


def resolve_model(name_or_path: str) -> str:
    """Folder of a packaged model for ``embedded:<name>``; a path or a hub name is given back as it is.

    Example:
        >>> resolve_model("TinyLlama/TinyLlama_v1.1")
        'TinyLlama/TinyLlama_v1.1'
    """
    if name_or_path.startswith(PREFIX):
        return str(asset(name_or_path.removeprefix(PREFIX)))
    return name_or_path
