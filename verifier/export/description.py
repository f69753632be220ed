"""``verifier.json`` of an export: what it is and what it was made from. No torch here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from verifier.config import HEADS, HeadKind
from verifier.places import EXPORTED
from verifier.tags import TagContract

CLASSES = ("bad", "good")
"""Class order of every export: class 1 is good, as in TRL's and Qwen's verifiers."""

_DTYPES = ("float32", "bfloat16", "float16")


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
        head: the kind of head that the two classes were made from; it says how solutions are ranked.
        largest_difference: between its scores and the source's on the golden texts.
        training_text: as the source has it.
        calibration: as the source has it; or what was fitted on this one's scores since.
    """

    contract: TagContract
    classes: tuple[str, ...]
    dtype: str
    max_length: int
    base: str
    source_verifier: str
    source_quantization: str
    weights_sha256: dict[str, str]
    head: HeadKind = "lm"
    largest_difference: float | None = None
    training_text: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
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
    if described.head not in HEADS:
        raise ShepherdError(
            f"{path}: head is {described.head!r}, expected {' or '.join(HEADS)}; export again"
        )
    if sorted(described.classes) != sorted(CLASSES) or described.dtype not in _DTYPES:
        raise ShepherdError(
            f"{path}: classes {list(described.classes)} and dtype {described.dtype!r}, expected "
            f"{list(CLASSES)} and one of {', '.join(_DTYPES)}; export again"
        )
    return described
