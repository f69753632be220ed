"""A verifier on disk: adapter, tokenizer, ``verifier.json`` and a model card; and loading it again.

verifier/
verifier.json      base, template, token ids, head, fingerprints; schema_version
adapter/           peft adapter (safetensors); of AdaLoRA, ranks.json beside it
head.safetensors   weight and bias of a head of its own (head: classifier, outcome)
tokenizer/         the tokenizer it was trained with
README.md          model card
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shepherd.errors import ShepherdError
from shepherd.files import atomic_directory, atomic_write, sha256_file, write_json
from verifier import tags
from verifier.adalora import ranks_of
from verifier.adapter import write_adapter, write_tensors
from verifier.description import Description, find, read_description, rule_of
from verifier.heads import TrainedHead
from verifier.scoring import Verifier

_HEAD = "head.safetensors"


def save(
    path: Path,
    model: Any,
    tokenizer: Any,
    description: Mapping[str, Any],
    card: str,
    head: TrainedHead | None = None,
) -> Description:
    """Write a verifier folder, whole or not at all.

    Args:
        path: the folder.
        model: peft model whose adapter is saved.
        tokenizer: saved beside it.
        description: fields of `Description` but for the hashes.
        card: text of README.md.
        head: one with weights of its own, if the verifier has one.
    """
    with atomic_directory(path) as aside:
        ranks = ranks_of(model)
        adapter = aside / "adapter"
        adapter.mkdir()
        write_adapter(adapter, model, description["base"], None if ranks is None else model.state_dict())
        if head is not None:
            write_tensors(aside / _HEAD, head.state_dict())
        if ranks is not None:
            write_json(adapter / "ranks.json", {"total": sum(ranks.values()), "ranks": ranks})
        tokenizer.save_pretrained(aside / "tokenizer")
        with atomic_write(aside / "README.md") as handle:
            handle.write(card)
        written = Description(
            **description,
            adapter_sha256=sha256_file(adapter / "adapter_model.safetensors"),
            head_sha256=None if head is None else sha256_file(aside / _HEAD),
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
    own = _read_head(folder, described)
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

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # drawn, then read
        # peft 0.21 looks for the layers of AdaLoRA's pattern under LoRA's names, and reads it all the same.
        warnings.filterwarnings("ignore", "The following rank_pattern keys", RuntimeWarning)
        model = peft.PeftModel.from_pretrained(base, str(folder / "adapter"))
        reader = models.read_with(described.head, model.eval(), described.contract)
    if own is not None and isinstance(reader.head, nn.Module):
        _put_head(reader.head, own, folder / _HEAD)
    encode = partial(tags.encode, tokenizer, described.contract)
    return Verifier(reader, encode, described.id, name_or_folder, rule=rule_of(described.head))


def _read_head(folder: Path, described: Description) -> dict[str, Tensor] | None:
    """The weights of a head of its own, or None where the language model's is read."""
    if described.head == "lm":
        return None
    path = folder / _HEAD
    if not path.is_file() or sha256_file(path) != described.head_sha256:
        raise ShepherdError(
            f"{path}: missing, or not the head that verifier.json names; copy the folder again"
        )
    from safetensors.torch import load_file

    return load_file(path)


def _put_head(head: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    if shapes != expected:
        raise ShepherdError(f"{path}: expected {expected}, found {shapes}; train again with this version")
    head.load_state_dict(weights)
