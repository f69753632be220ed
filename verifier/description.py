"""Who a verifier is: ``verifier.json``, read without torch, so that its scores can be found in the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.scores import Aggregation
from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import read_json
from verifier.config import HEADS, HeadKind
from verifier.tags import TagContract

_KIND = "shepherd-verifier"
_DECIDES_NOTHING = frozenset({"base", "training_text", "calibration"})


@dataclass(frozen=True, slots=True)
class Description:
    """``verifier.json`` without its schema version; where it has no `head`, that is ``lm``.

    What is known of the verifier and decides no score: `training_text` has quantiles of the lengths of the
    texts it was trained on (see `verifier.batches.text_lengths`), `calibration` what its training fitted on
    held-out rows, or `shepherd eval-steps --save-calibration` on others.
    """

    base: str
    base_fingerprint: str
    quantization: str
    dtype: str
    max_length: int
    contract: TagContract
    adapter_sha256: str
    head: HeadKind = "lm"
    head_sha256: str | None = None
    training_text: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None
    kind: str = _KIND

    @property
    def id(self) -> str:
        """Short hash of all that decides a score; where the base lies does not."""
        decides = {key: value for key, value in asdict(self).items() if key not in _DECIDES_NOTHING}
        if self.head == "lm":  # the same as before there were other heads, so that old ids hold
            del decides["head"], decides["head_sha256"]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


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
        described = Description(**{**data, "contract": TagContract.from_json(data["contract"])})
    except (KeyError, TypeError) as error:
        raise ShepherdError(f"{path}: fields do not fit ({error}); train again with this version") from error
    if described.head not in HEADS:
        raise ShepherdError(f"{path}: head is {described.head!r}, expected {' or '.join(HEADS)}")
    return described


def find(name_or_folder: str) -> Path:
    """The folder that holds verifier.json: itself, or the ``verifier`` folder of a run."""
    place = _place(name_or_folder)
    if place is not None:
        return place
    raise ShepherdError(
        f"{name_or_folder}: no verifier.json; give the output of shepherd train-prm (a run directory or its "
        'verifier folder), or "embedded"'
    )


def rule_of(kind: HeadKind) -> Aggregation:
    """The solution score that a head was made for: a step head's weakest step, an outcome head's last value.

    Example:
        >>> rule_of("classifier"), rule_of("outcome")
        ('min', 'last')
    """
    return "last" if kind == "outcome" else "min"


def rule_of_verifier(name_or_folder: str) -> Aggregation:
    """The solution score that a verifier was made for; nothing but ``verifier.json`` is read.

    One without it (published elsewhere) is a step verifier.
    """
    place = _place(name_or_folder)
    if place is None:
        return "min"
    return rule_of(read_json(place / "verifier.json").get("head", "lm"))


def _place(name_or_folder: str) -> Path | None:
    if name_or_folder == "embedded":
        return asset("verifier")
    folder = Path(name_or_folder)
    places = (folder, folder / "verifier")
    return next((place for place in places if (place / "verifier.json").is_file()), None)
