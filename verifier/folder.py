"""A verifier on disk: adapter, tokenizer, ``verifier.json`` and a model card; and loading it again.

verifier/
verifier.json      base, template, token ids, fingerprints; schema_version
adapter/           peft adapter (safetensors)
tokenizer/         the tokenizer it was trained with
README.md          model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, atomic_write, read_json, sha256_file, write_json
from verifier import tags
from verifier.scoring import Verifier
from verifier.tags import TagContract

_KIND = "shepherd-verifier"


@dataclass(frozen=True, slots=True)
class Description:
    """``verifier.json`` without its schema version."""

    base: str
    base_fingerprint: str
    quantization: str
    dtype: str
    max_length: int
    contract: TagContract
    adapter_sha256: str
    kind: str = _KIND

    @property
    def id(self) -> str:
        """Short hash of all that decides a score; where the base lies does not."""
        decides = {key: value for key, value in asdict(self).items() if key != "base"}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def save(path: Path, model: Any, tokenizer: Any, description: Mapping[str, Any], card: str) -> Description:
    """Write a verifier folder, whole or not at all.

    Args:
        path: the folder.
        model: peft model whose adapter is saved.
        tokenizer: saved beside it.
        description: fields of `Description` but for the adapter's hash.
        card: text of README.md.
    """
    import peft
    from safetensors.torch import save as to_bytes

    with atomic_directory(path) as aside:
        weights = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
        adapter = aside / "adapter"
        adapter.mkdir()
        tensors = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
        with atomic_write(adapter / "adapter_model.safetensors", "wb") as handle:
            handle.write(to_bytes(tensors, metadata={"format": "pt"}))
        with atomic_write(adapter / "adapter_config.json") as handle:
            config = _adapter_config(model.peft_config["default"], description["base"])
            handle.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
        tokenizer.save_pretrained(aside / "tokenizer")
        with atomic_write(aside / "README.md") as handle:
            handle.write(card)
        written = Description(
            **description, adapter_sha256=sha256_file(adapter / "adapter_model.safetensors")
        )
        write_json(aside / "verifier.json", asdict(written))
    return written


def load(name_or_folder: str, *, device: str = "auto", trust_remote_code: bool = False) -> Verifier:
    """Load a verifier and check that base, tokenizer and ids are those it was trained with."""
    import torch

    from verifier import model as models

    folder = find(name_or_folder)
    described = read_description(folder)
    adapter = folder / "adapter" / "adapter_model.safetensors"
    if not adapter.is_file() or sha256_file(adapter) != described.adapter_sha256:
        raise ShepherdError(
            f"{adapter}: missing, or not the adapter that verifier.json names; copy the folder again"
        )
    tokenizer = models.load_tokenizer(str(folder / "tokenizer"))
    tags.check(described.contract, tokenizer, str(folder))
    base = models.load_base(
        described.base,
        quantization=described.quantization,
        dtype=described.dtype,
        device=models.pick_device(device),
        trust_remote_code=trust_remote_code,
    )
    if models.base_fingerprint(base, described.contract) != described.base_fingerprint:
        raise ShepherdError(
            f"{folder}: the base {described.base} is not the model this verifier was trained on; "
            "put the right model there, or train again"
        )
    import peft  # after load_base, which quiets bitsandbytes

    with torch.random.fork_rng(devices=[]):  # peft draws an adapter before it reads one
        model = peft.PeftModel.from_pretrained(base, str(folder / "adapter"))
    encode = partial(tags.encode, tokenizer, described.contract)
    return Verifier(
        models.read_labels(model.eval(), described.contract), encode, described.id, name_or_folder
    )


def read_description(folder: Path) -> Description:
    """Read ``verifier.json``."""
    path = folder / "verifier.json"
    data = read_json(path)
    data.pop("schema_version", None)
    if data.get("kind") != _KIND:
        raise ShepherdError(
            f"{path}: kind is {data.get('kind')!r}, expected {_KIND!r}; not a verifier of shepherd"
        )
    try:
        return Description(**{**data, "contract": TagContract.from_json(data["contract"])})
    except (KeyError, TypeError) as error:
        raise ShepherdError(f"{path}: fields do not fit ({error}); train again with this version") from error


def find(name_or_folder: str) -> Path:
    """The folder that holds verifier.json: itself, or the ``verifier`` folder of a run."""
    if name_or_folder == "embedded":
        return asset("verifier")
    folder = Path(name_or_folder)
    for place in (folder, folder / "verifier"):
        if (place / "verifier.json").is_file():
            return place
    raise ShepherdError(
        f"{folder}: no verifier.json; give the output of shepherd train-prm (a run directory or its "
        'verifier folder), or "embedded"'
    )


def _adapter_config(config: Any, base: str) -> dict[str, Any]:
    """Peft's own configuration, in a fixed order (it keeps sets) and without this machine's paths."""
    plain = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
        if key not in {"runtime_config"}
    }
    return {**plain, "base_model_name_or_path": base, "inference_mode": True}
