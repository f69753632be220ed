"""The tiny base and rows, built once a session."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load_tiny() -> ModuleType:
    """Tests are no packages, so what they share is loaded from its file."""
    if "shepherd_tests_tiny" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "shepherd_tests_tiny", Path(__file__).with_name("tiny.py")
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["shepherd_tests_tiny"] = module
        spec.loader.exec_module(module)
    return sys.modules["shepherd_tests_tiny"]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    return _load_tiny()


@pytest.fixture(scope="session")
def tiny_base(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tiny.build_base(tmp_path_factory.mktemp("models") / "base")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture(scope="session")
def tiny_rows(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tiny.write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", tiny.make_rows(240))
    return path


@pytest.fixture(scope="session")
def tiny_verifier(
    tiny: ModuleType, tiny_base: Path, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained verifier folder (nf4); tests that change it work on a copy."""
    from verifier.config import TrainPrmConfig
    from verifier.training import train

    config = TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        max_length=128,
        max_steps=6,
        batch_tokens=1024,
        learning_rate=0.01,
        tensorboard=False,
        threads=1,
    )
    folder: Path = train(config, tiny.FakeRun(tmp_path_factory.mktemp("run"))).folder
    return folder
