"""An exported verifier on disk, and loading it again.

config.json, *.safetensors    a token-classification model, the adapter merged in
tokenizer files               those the verifier was trained with
verifier.json                 template, token ids, class order, hashes, and what it was exported from
vllm.json                     the arguments that make vLLM score with it
README.md                     model card
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shepherd.errors import ShepherdError
from shepherd.files import read_json, sha256_file, write_json
from verifier import model as models
from verifier import tags
from verifier.formats.load import load_model, quiet_transformers
from verifier.formats.two_class import TwoClass
from verifier.places import EXPORTED, find_place
from verifier.scoring import Verifier
from verifier.tags import TagContract

CLASSES = ("bad", "good")
"""Class order of every export: class 1 is good, as in TRL's and Qwen's verifiers."""


@dataclass(frozen=True, slots=True)
class Exported:
    """``verifier.json`` of an export, without its schema version.

    Attributes:
        contract: template, token ids and tokenizer; scores are read at the tag's positions.
        classes: names of the two classes, in their order.
        dtype: of the weights; it is loaded in this.
        max_length: tokens that the verifier was trained on.
        base: what the adapter was merged into.
        source_verifier: id of the verifier it was exported from.
        source_quantization: how that verifier reads its base.
        weights_sha256: by file name.
        largest_difference: between its scores and the source's on the golden texts.
    """

    contract: TagContract
    classes: tuple[str, ...]
    dtype: str
    max_length: int
    base: str
    source_verifier: str
    source_quantization: str
    weights_sha256: dict[str, str]
    largest_difference: float | None = None
    kind: str = EXPORTED

    @property
    def id(self) -> str:
        """Short hash of all that decides a score."""
        decides = {
            "contract": asdict(self.contract),
            "classes": self.classes,
            "dtype": self.dtype,
            "weights": sorted(self.weights_sha256.values()),
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


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


def write_description(folder: Path, described: Exported) -> None:
    """Write ``verifier.json``."""
    write_json(folder / "verifier.json", asdict(described))


def read_description(folder: Path) -> Exported:
    """Read ``verifier.json``."""
    path = folder / "verifier.json"
    data = read_json(path)
    data.pop("schema_version", None)
    try:
        contract = TagContract.from_json(data["contract"])
        described = Exported(**{**data, "contract": contract, "classes": tuple(data["classes"])})
    except (KeyError, TypeError) as error:
        raise ShepherdError(f"{path}: fields do not fit ({error}); export again with this version") from error
    if sorted(described.classes) != sorted(CLASSES) or described.dtype not in models.DTYPES:
        raise ShepherdError(
            f"{path}: classes {list(described.classes)} and dtype {described.dtype!r}, expected "
            f"{list(CLASSES)} and one of {', '.join(models.DTYPES)}; export again"
        )
    return described
