"""An exported verifier on disk, and loading it again.

config.json, *.safetensors    a token-classification model, the adapter merged in
tokenizer files               those the verifier was trained with
verifier.json                 template, token ids, class order, hashes, and what it was exported from
vllm.json                     the arguments that make vLLM score with it
README.md                     model card
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from shepherd.errors import ShepherdError
from shepherd.files import sha256_file
from verifier import model as models
from verifier import tags
from verifier.export.description import Exported, read_description
from verifier.formats.load import load_model, quiet_transformers
from verifier.formats.two_class import TwoClass
from verifier.places import find_place
from verifier.scoring import Verifier


def load(name_or_folder: str, *, device: str = "auto", dtype: str | None = None) -> Verifier:
    """Load an exported verifier and check that weights, tokenizer and ids are those it was written with.

    Args:
        name_or_folder: as the user gave it.
        device: ``auto`` is CUDA where there is one.
        dtype: another than the weights' own, to measure what theirs costs.
    """
    folder = find_place(name_or_folder).folder
    assert folder is not None  # an export has a verifier.json, so it lies in a folder
    described = read_description(folder)
    check_weights(folder, described)
    tokenizer = models.load_tokenizer(str(folder))
    tags.check(described.contract, tokenizer, str(folder))
    model = load_model(
        folder,
        "AutoModelForTokenClassification",
        quantization="none",
        dtype=dtype or described.dtype,
        device=models.pick_device(device),
    )
    reader = models.TagReader(model, TwoClass(model.score, described.classes.index("good")))
    encode = partial(tags.encode, tokenizer, described.contract)
    return Verifier(reader, encode, described.id, name_or_folder)


def check_weights(folder: Path, described: Exported) -> None:
    """Refuse weights other than those the folder was written with."""
    for name, digest in described.weights_sha256.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise ShepherdError(
                f"{folder / name}: missing, or not the weights verifier.json names; copy the folder again"
            )


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights, config and tokenizer, readable by whoever may read the folder."""
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod((folder / "config.json").stat().st_mode)  # safetensors makes them 0600
