"""What every test shares: where the foreign data lies, and property tests that run the same way twice."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


@pytest.fixture(scope="session")
def encode_rows() -> Callable[..., Any]:
    """Rows at hand as tokens, cut as a training cuts them; nothing is kept in the store."""
    import numpy as np

    from verifier.batches import cut_rows
    from verifier.data.corpus import corpus_of
    from verifier.data.tokens import tokens_of

    def encode(rows: Any, tokenizer: Any, contract: Any, max_length: int, supervision: Any = None) -> Any:
        corpus = corpus_of(rows)
        tokens = tokens_of(corpus, tokenizer, contract)
        return cut_rows(corpus, tokens, np.arange(len(corpus)), max_length, supervision)

    return encode


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module of the fake endpoint. Tests are no packages, so what they share is loaded from its file."""
    spec = importlib.util.spec_from_file_location(
        "shepherd_tests_endpoint", Path(__file__).with_name("fake_endpoint.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def endpoint(fake: ModuleType) -> Iterator[Any]:
    """A running fake endpoint."""
    server = fake.FakeEndpoint()
    yield server
    server.close()
