"""The vocabularies, each built once a session."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location(
    "shepherd_tests_vocabularies", Path(__file__).with_name("builders.py")
)
assert _spec is not None
assert _spec.loader is not None
_builders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_builders)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A vocabulary by its name in vocabularies.json."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = _builders.BUILDERS[name](tmp_path_factory.mktemp(name))
        return made[name]

    return get
