"""Who a verifier is: ``verifier.json``, read without torch, so that its scores can be found in the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from shepherd.assets import asset
from shepherd.errors import ShepherdError
from shepherd.files import read_json
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
