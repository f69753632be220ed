"""Files and data sets of the Hugging Face hub, and one line where they cannot be had.

The libraries below retry an unreachable hub for 20 seconds and more, and then print a traceback. Here the hub
is asked once, for at most `PROBE_S`; where it does not answer, only what is in the cache counts. Inside
`cache_alone` it is not asked at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from shepherd.errors import ShepherdError

PROBE_S = 5.0
"""Seconds the hub is given to answer at all."""


class NotAtHandError(ShepherdError):
    """What the cache has not, and the hub does not give."""


_cache_counts_alone = ContextVar("_cache_counts_alone", default=False)


@contextmanager
def cache_alone() -> Iterator[None]:
    """Look into the cache and ask the hub nothing: for plans, and for looks at what may be at hand."""
    token = _cache_counts_alone.set(True)
    try:
        yield
    finally:
        _cache_counts_alone.reset(token)


def unreachable() -> str | None:
    """Why the hub cannot be asked, in a few words; None if it answers."""
    return "only the cache was asked" if _cache_counts_alone.get() else _silence()


@lru_cache(maxsize=1)
def _silence() -> str | None:
    """What the hub does instead of an answer; asked once a process."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_S)
    except Exception as error:  # whatever the transport raises: there is no answer
        return f"no answer from {constants.ENDPOINT} ({type(error).__name__})"
    return None


def fetch_files(repository: str, patterns: Sequence[str], *, remedy: str) -> list[Path]:
    """Files of a data set repository, downloaded or from the cache, sorted by name.

    Args:
        repository: as ``"peiyi9979/Math-Shepherd"``.
        patterns: file names, ``*`` for anything.
        remedy: what to do where they cannot be had; ends the error.

    Raises:
        ShepherdError: where the hub cannot be reached and the cache has none of them, or there are none.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    away = unreachable()
    try:
        folder = Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                allow_patterns=list(patterns),
                local_files_only=away is not None,
            )
        )
    except LocalEntryNotFoundError as error:
        raise _absent(repository, away or "the download failed", remedy) from error
    except HfHubHTTPError as error:
        raise _absent(repository, _first_line(error), remedy) from error
    found = sorted({file for pattern in patterns for file in folder.rglob(pattern) if file.is_file()})
    if not found:
        raise _absent(repository, away or f"the repository has no {' or '.join(patterns)}", remedy)
    return found


def load_rows(repository: str, name: str, split: str, *, remedy: str) -> Iterator[Mapping[str, Any]]:
    """Rows of a split of a data set through ``datasets``; arguments and errors as `fetch_files`.

    Inside `cache_alone` nothing is imported where the cache has no folder of that name.
    """
    away = unreachable()
    if _cache_counts_alone.get() and not _has_cache(repository):
        raise NotAtHandError(f"{repository} ({split}): not in the Hugging Face cache")
    import datasets

    try:
        with _offline(away is not None):
            found = datasets.load_dataset(repository, name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _absent(f"{repository} ({split})", away or _first_line(error), remedy) from error
    return iter(found)


def _has_cache(repository: str) -> bool:
    from huggingface_hub import constants

    folder = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    return (folder / repository.replace("/", "___")).is_dir()


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Let ``datasets`` look into its cache alone: what HF_HUB_OFFLINE does, which it reads only at import."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if wanted:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _absent(what: str, why: str, remedy: str) -> NotAtHandError:
    return NotAtHandError(f"{what}: not in the Hugging Face cache, and cannot be fetched: {why}; {remedy}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
