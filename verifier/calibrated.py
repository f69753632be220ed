"""A verifier's calibration: kept in its ``verifier.json``, read when it is asked for. No torch here."""

from __future__ import annotations

from pathlib import Path

from eval.calibration import FILE, KEY, Calibrations, read_calibration
from eval.kinds import CalibrationKind
from eval.scores import Calibration
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from verifier.places import find_place


def load_calibration(verifier: str, kind: CalibrationKind, source: str | None = None) -> Calibration | None:
    """The map that turns a verifier's step scores into calibrated ones.

    Args:
        verifier: as the user calls it.
        kind: which of the two maps; ``none`` gives None.
        source: a run of `shepherd eval-steps`, or a file, that has the map in the verifier's place.

    Raises:
        ShepherdError: where none was saved.
    """
    if kind == "none":
        return None
    return read_calibration(calibration_file(verifier, source)).of(kind)


def calibration_file(verifier: str, source: str | None = None) -> Path:
    """The file that `load_calibration` reads.

    Raises:
        ShepherdError: for a verifier without a folder of its own, or a source that has none.
    """
    if source is not None:
        path = Path(source)
        return path / FILE if path.is_dir() and (path / FILE).is_file() else path
    folder = find_place(verifier).folder
    if folder is None or not (folder / "verifier.json").is_file():
        raise ShepherdError(
            f"{verifier}: has no verifier.json that could hold a calibration; fit one with shepherd "
            f"eval-steps ROWS --verifier {verifier}, and name its run with --set calibration_from=RUN"
        )
    return folder / "verifier.json"


def require_own_folder(verifier: str) -> Path:
    """The ``verifier.json`` that a calibration may be written into.

    Raises:
        ShepherdError: for the packaged verifier and for published ones, which are not this user's to change.
    """
    place = find_place(verifier)
    if verifier == "embedded" or place.folder is None or place.kind == "published":
        whose = "the packaged verifier" if verifier == "embedded" else "a published verifier"
        raise ShepherdError(
            f"{verifier}: --save-calibration does not write into {whose}; leave it out, and use the run's "
            f"own {FILE}: shepherd score --set calibration=temperature --set calibration_from=RUN"
        )
    return place.folder / "verifier.json"


def save_calibration(verifier: str, calibrations: Calibrations) -> Path:
    """Put calibrations into a verifier's ``verifier.json``, whole or not at all; its id stays what it was."""
    path = require_own_folder(verifier)
    data = read_json(path)
    data.pop("schema_version", None)
    write_json(path, {**data, KEY: calibrations.to_json()})
    return path
