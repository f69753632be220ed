"""Where this project keeps what it can make again: ``SHEPHERD_CACHE``, else ``~/.cache/shepherd``."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder of one kind of cached things; nothing is made.

    Example:
        >>> cache_folder("rows").name
        'rows'
    """
    named = os.environ.get("SHEPHERD_CACHE")
    if named:
        return Path(named) / name
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shepherd" / name
