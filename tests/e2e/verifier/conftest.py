"""The tiny base and verifier of the unit tests, for commands."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).parents[2] / "unit" / "verifier" / "conftest.py"
_spec = importlib.util.spec_from_file_location("shepherd_tests_verifier_fixtures", _PATH)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _fixtures
_spec.loader.exec_module(_fixtures)

tiny = _fixtures.tiny
tiny_base = _fixtures.tiny_base
tiny_rows = _fixtures.tiny_rows
tiny_verifier = _fixtures.tiny_verifier
