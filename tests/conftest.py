"""What every test shares: where the foreign data lies, and property tests that run the same way twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "shepherd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shepherd")

# Real data by others, never part of the project's tree; a user's machine has none of it.
_BESIDE_THE_CLONE = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def session_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The store of what is made once for many tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHEPHERD_STORE", str(tmp_path_factory.mktemp("store") / "session"))
        yield


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own for every test, and for the processes it starts: never the user's."""
    folder = tmp_path_factory.mktemp("store") / "store"
    monkeypatch.setenv("SHEPHERD_STORE", str(folder))
    return folder


@pytest.fixture(scope="session")
def foreign_data() -> Path:
    """Folder of the real data: SHEPHERD_DATA, else beside the clone; else tests skip (CI=true: fail)."""
    named = os.environ.get("SHEPHERD_DATA")
    folder = Path(named) if named else _BESIDE_THE_CLONE
    if not folder.is_dir():
        reason = f"no foreign data: SHEPHERD_DATA is {named or 'not set'} and {folder} does not exist"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
