"""What ``--verifier`` can name, and where it lies. No torch here.

- a verifier of this project: a folder (or a run's ``verifier`` folder) with ``verifier.json``;
- its export, which has a ``verifier.json`` of another kind beside its ``config.json``;
- a published verifier: a folder with ``config.json``, or a name on the hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import read_json

EXPORTED = "shepherd-exported-verifier"
"""The kind that an exported folder's ``verifier.json`` states."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# What decides a score and is small; the weights are named by the verifier's id.
_SMALL_FILES = ("verifier.json", "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verifier lies.

    Attributes:
        kind: ``trained`` and ``exported`` are this project's own.
        folder: None for a name on the hub.
    """

    kind: Literal["trained", "exported", "published"]
    folder: Path | None


def find_place(name_or_folder: str) -> Place:
    """Find a verifier by what the user called it; nothing is downloaded."""
    folder = asset("verifier") if name_or_folder == "embedded" else Path(name_or_folder)
    for place in (folder, folder / "verifier"):
        if (place / "verifier.json").is_file():
            kind = read_json(place / "verifier.json").get("kind")
            return Place("exported" if kind == EXPORTED else "trained", place)
    if (folder / "config.json").is_file():
        return Place("published", folder)
    if not folder.exists() and _HUB_NAME.fullmatch(name_or_folder):
        return Place("published", None)
    raise ShepherdError(
        f"{folder}: no verifier.json and no config.json; give the output of shepherd train-prm (a run "
        'directory or its verifier folder), a published verifier (a folder or a hub name), or "embedded"'
    )


def input_files(name_or_folder: str) -> list[Path]:
    """The small files of a verifier whose hashes a run keeps; none for a name on the hub."""
    place = find_place(name_or_folder)
    if place.folder is None:
        return []
    if place.kind == "trained":  # it names adapter, tokenizer and base by their hashes
        return [place.folder / "verifier.json"]
    return [place.folder / name for name in _SMALL_FILES if (place.folder / name).is_file()]
