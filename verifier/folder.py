"""A verifier on disk: adapter, tokenizer, ``verifier.json`` and a model card; and loading it again.

verifier/
verifier.json      base, template, token ids, fingerprints; schema_version
adapter/           peft adapter (safetensors)
tokenizer/         the tokenizer it was trained with
README.md          model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, atomic_write, sha256_file, write_json
from verifier import tags
from verifier.description import Description as Description
from verifier.description import find as find
from verifier.description import read_description as read_description

if TYPE_CHECKING:
    from verifier.scoring import Verifier


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


def load(name_or_folder: str, *, device: str = "auto") -> Verifier:
    """Load a verifier and check that base, tokenizer and ids are those it was trained with."""
    import torch

    from verifier import model as models
    from verifier.scoring import Verifier

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


def _adapter_config(config: Any, base: str) -> dict[str, Any]:
    """Peft's own configuration, in a fixed order (it keeps sets) and without this machine's paths."""
    plain = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
        if key not in {"runtime_config"}
    }
    return {**plain, "base_model_name_or_path": base, "inference_mode": True}
