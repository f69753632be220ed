from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from verifier import machine
from verifier.machine import Machine, find_card, find_machine

ANSWER = "NVIDIA H200, 143771\nNVIDIA H200, 143771\n"


def _answer(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[list[str]]:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout=answer)

    monkeypatch.setattr(machine.subprocess, "run", run)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return asked


def test_a_card_goes_before_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, ANSWER)
    card = Machine("cuda", "NVIDIA H200", 143771 << 20)
    assert find_machine("auto") == find_machine("cuda") == card
    found = find_machine("cpu")
    assert found is not None
    assert found.device == "cpu"
    assert found.memory_bytes > 1 << 28


def test_the_card_is_the_one_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _answer(monkeypatch, ANSWER)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert find_card() is not None
    assert asked[-1][-1] == "--id=1"
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert find_card() is None
    assert len(asked) == 1


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("nvidia-smi", 10)])
def test_no_driver_is_no_card(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(machine.subprocess, "run", run)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_card() is None
    assert find_machine("cuda") is None
    found = find_machine("auto")
    assert found is not None
    assert found.device == "cpu"
