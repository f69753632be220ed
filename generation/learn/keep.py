"""The policy that a run keeps: its adapter where every command looks for one, and merged on demand."""

from __future__ import annotations

import shutil
from pathlib import Path

from generation.config import SamplerConfig
from generation.scored import Log
from shepherd.files import atomic_directory
from verifier.adapter import find_adapter


def copy_adapter(source: Path | str, folder: Path) -> None:
    """Copy an adapter, whole or not at all, in the place of one that stood there."""
    found = find_adapter(str(source))
    with atomic_directory(folder) as aside:
        for file in sorted(found.iterdir()):
            if file.is_file():
                shutil.copyfile(file, aside / file.name)


def merge_policy(config: SamplerConfig, adapter: Path, folder: Path, log: Log) -> None:
    """Write the generator with an adapter merged into its unquantized base, and its tokenizer.

    Args:
        config: the base's name, and whether its code is run.
        adapter: of the policy.
        folder: gets the model, whole or not at all; nothing is done where it stands already.
        log: told what is done.
    """
    if folder.exists():
        return
    from verifier.export.generator import export_generator

    export_generator(adapter, folder, base=config.model, trust_remote_code=config.trust_remote_code, log=log)
