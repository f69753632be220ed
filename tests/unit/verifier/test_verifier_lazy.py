"""A verifier that is loaded late, and the device that its scores are kept under."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import pytest

from shepherd.assets import asset
from shepherd.errors import ShepherdError
from verifier import device
from verifier.device import device_kind
from verifier.lazy import LazyVerifier, known_id


def test_the_id_is_known_without_loading(tmp_path: Path) -> None:
    verifier = LazyVerifier("embedded", lambda: pytest.fail("it is loaded"))
    assert verifier.id == known_id(str(asset("verifier"))) == "227e51b2aa78"
    assert verifier.counts == (0, 0, 0, 0, 0)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert known_id(str(tmp_path)) is None  # a published verifier: its weights say who it is
    (tmp_path / "verifier.json").write_text('{"kind": "of-others"}')
    with pytest.raises(ShepherdError, match=r"verifier\.json: kind is 'of-others'"):
        known_id(str(tmp_path))


def test_a_folder_that_changes_before_it_is_loaded_is_told(tmp_path: Path) -> None:
    folder = shutil.copytree(asset("verifier"), tmp_path / "verifier")

    def load() -> types.SimpleNamespace:
        described = json.loads((folder / "verifier.json").read_text())
        (folder / "verifier.json").write_text(json.dumps({**described, "max_length": 99}))
        return types.SimpleNamespace(id=known_id(str(folder)))

    verifier = LazyVerifier(str(folder), load)
    with pytest.raises(ShepherdError, match=r"was verifier 227e51b2aa78 and is .* now; run again"):
        verifier.load()


def test_an_unloaded_verifier_is_loaded_again_and_still_knows_who_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')  # its id takes loading
    loads: list[int] = []
    closed: list[int] = []

    def load() -> types.SimpleNamespace:
        loads.append(1)
        return types.SimpleNamespace(id="one", close=lambda: closed.append(1))

    verifier = LazyVerifier(str(tmp_path), load)
    verifier.unload()  # nothing to forget yet
    assert verifier.load().id == "one"
    verifier.unload()
    assert (len(loads), len(closed)) == (1, 1)
    assert verifier.id == "one"  # without loading
    assert len(loads) == 1
    assert verifier.load() is verifier.load()
    assert len(loads) == 2


def test_torch_is_asked_for_the_device_only_where_there_may_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", asked)
    assert device_kind("auto") == "cuda"  # torch is there anyway
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(device, "_FOLDER", tmp_path)
    assert device_kind("auto") == "cpu"
    assert "torch" not in sys.modules
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr("builtins.__import__", _importing(asked, __import__))
    assert device_kind("auto") == "cuda"
    asked.cuda.is_available = lambda: False  # a driver, and no device that works
    assert device_kind("auto") == "cpu"


def _importing(torch: object, otherwise: object) -> object:
    """An import that finds this torch."""
    return lambda name, *more: torch if name == "torch" else otherwise(name, *more)
