"""Which files a name of training data stands for: published sets on the hub, packaged rows, files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from shepherd.assets import PREFIX, asset
from shepherd.errors import ShepherdError
from shepherd.files import STDIN
from shepherd.hub import fetch_files


class Published(NamedTuple):
    """A set on the hub: its repository, the files that hold the training rows, and how they are called."""

    repository: str
    patterns: tuple[str, ...]
    file: str


PUBLISHED = {
    "math-shepherd": Published("peiyi9979/Math-Shepherd", ("math-shepherd.jsonl",), "math-shepherd.jsonl"),
    "trl-stepwise": Published("trl-lib/math_shepherd", ("data/train-*.parquet",), "its train Parquet file"),
    "prm800k": Published("tasksource/PRM800K", ("phase2_train.jsonl",), "phase2_train.jsonl"),
}
_SUFFIXES = (".jsonl", ".json", ".gz", ".xz", ".parquet")


def is_published(source: str) -> bool:
    """Does the name stand for one of the published sets?"""
    return source in PUBLISHED


def locate(source: str) -> list[str]:
    """The files of a source.

    Args:
        source: ``"embedded"`` (the packaged rows) or ``"embedded:<asset>"``; ``"math-shepherd"``,
            ``"trl-stepwise"`` or ``"prm800k"``, fetched from the hub once; another data set of the hub as
            ``"owner/name"`` (its files named ``train``); else a file, or ``"-"``.

    Raises:
        ShepherdError: in one line, where the hub cannot be reached or there is no such file.
    """
    if source == "embedded":
        return [str(asset("rows"))]
    if source.startswith(PREFIX):
        return [str(asset(source.removeprefix(PREFIX)))]
    if source in PUBLISHED:
        return _fetched(PUBLISHED[source])
    if source == STDIN or Path(source).is_file():
        return [source]
    if source.count("/") == 1 and not source.startswith((".", "/")) and not source.endswith(_SUFFIXES):
        return _fetched(Published(source, ("*train*.jsonl", "*train*.parquet"), "its train file"))
    raise ShepherdError(
        f"{source}: no such file; give a file of rows, embedded, a data set of the hub as owner/name, or "
        f"{', '.join(PUBLISHED)}"
    )


def _fetched(published: Published) -> list[str]:
    remedy = (
        f"download {published.file} of huggingface.co/datasets/{published.repository} where there is a "
        "network, and give it: shepherd train-prm --data FILE --set on_bad_row=skip --set dedup=true"
    )
    return [str(path) for path in fetch_files(published.repository, published.patterns, remedy=remedy)]
