"""`shepherd export` of a generator: an SFT or DPO adapter merged into its base, as a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, read_json
from verifier import model as models
from verifier.export.folder import save_model
from verifier.export.merge import load_unquantized, merge

_CONFIG = "adapter_config.json"
_TOKENIZER = "tokenizer_config.json"


class GeneratorResult(NamedTuple):
    """What was written."""

    folder: Path
    base: str
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**self._asdict(), "kind": "generator", "folder": str(self.folder)}


def find_adapter(name: str) -> Path | None:
    """The folder of a peft adapter: the folder itself, or one folder of the run that holds it."""
    folder = Path(name)
    found = (
        [folder] if (folder / _CONFIG).is_file() else sorted(p.parent for p in folder.glob(f"*/{_CONFIG}"))
    )
    if not found:
        found = sorted(path.parent for path in folder.glob(f"*/*/{_CONFIG}"))
    if len(found) > 1:
        names = ", ".join(str(path) for path in found[:5])
        raise ShepherdError(f"{folder}: holds {len(found)} adapters ({names}); give the one to export")
    return found[0] if found else None


def export_generator(
    adapter: Path,
    out: Path,
    *,
    dtype: str = "auto",
    base: str | None = None,
    trust_remote_code: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> GeneratorResult:
    """Write a base with an adapter merged in, and its tokenizer.

    Args:
        adapter: folder of a peft adapter.
        out: the folder to write, whole or not at all.
        dtype: of the merged weights; ``auto`` is the base's own.
        base: where the base lies; None for where adapter_config.json says.
        trust_remote_code: run code that comes with the base.
        log: told what is done, a line at a time.
    """
    where = base or read_json(adapter / _CONFIG).get("base_model_name_or_path")
    if not where:
        raise ShepherdError(f"{adapter / _CONFIG}: does not say which base it is for; give it with --base")
    log(f"merging {adapter} into {where}, unquantized")
    merged = merge(load_unquantized(where, dtype, trust_remote_code=trust_remote_code), adapter)
    tokenizer = models.load_tokenizer(_tokenizer_of(adapter, where), trust_remote_code=trust_remote_code)
    with atomic_directory(out) as aside:
        save_model(merged, tokenizer, aside)
    return GeneratorResult(out, where, str(merged.dtype).removeprefix("torch."))


def _tokenizer_of(adapter: Path, base: str) -> str:
    """The tokenizer saved with the adapter, which may have a chat template of its own; else the base's."""
    for folder in (adapter, adapter.parent / "tokenizer", adapter.parent):
        if (folder / _TOKENIZER).is_file():
            return str(folder)
    return base
