"""`shepherd doctor`: what is wrong is found, and every failure has its fix."""

from __future__ import annotations

import json
import urllib.error
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from shepherd.cli import cli
from verifier.doctor import cli as command
from verifier.doctor import hub, machine, versions
from verifier.doctor.finding import Finding
from verifier.machine import Machine


def test_a_failing_line_has_its_fix_and_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("one", "ok", "fine"), Finding("two", "fail", "broken", "mend it")]
    monkeypatch.setattr(command, "examine", lambda: iter(found))
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 1
    assert done.stdout == "ok    one: fine\nfail  two: broken\n      mend it\n1 failed\n"
    as_json = CliRunner().invoke(cli, ["doctor", "--json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["findings"][1]["fix"] == "mend it"
    monkeypatch.setattr(command, "examine", lambda: iter(found[:1]))
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 0


def test_versions_outside_their_bounds_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [
        "click>=8.3",
        "torch<2",
        "no-such-package>=1",
        'vllm<0.32,>=0.31; extra == "vllm"',
        'openai<1; extra == "server"',
        'pytest; extra == "dev"',
    ]
    monkeypatch.setattr(versions.metadata, "requires", lambda _: needs)
    found = {each.name: each for each in versions.check_versions()}
    assert found["torch"].state == "fail"
    assert found["torch"].fix == "pip install 'torch<2'"
    assert found["no-such-package"].found == "not installed"
    assert found["no-such-package"].state == "fail"
    assert "click" not in found
    assert "packages" not in found
    assert found["extra vllm"].state == "note"
    assert found["extra vllm"].fix == "pip install 'shepherd-prm[vllm]'"
    assert found["extra server"].state == "fail"


def test_a_package_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> list[str]:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(versions.metadata, "requires", missing)
    (found,) = versions.check_versions()
    assert found.state == "fail"
    assert found.fix


@pytest.mark.parametrize(
    ("asked", "state"), [(None, "note"), ("1", "ok"), ("4096", "fail"), ("two", "fail"), ("0", "fail")]
)
def test_threads(monkeypatch: pytest.MonkeyPatch, asked: str | None, state: str) -> None:
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    found = machine.check_threads()
    assert found.state == state
    assert (found.state == "ok") == (found.fix == "")


def test_little_memory_and_little_disk_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 30, total=8 << 30))
    assert machine.check_memory() == Finding(
        "memory", "fail", "1.0 GiB free of 8.0 GiB", "end other programs: less than 2.0 GiB is free"
    )
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    runs, models = machine.check_disk()
    assert (runs.state, models.state) == ("fail", "note")
    assert runs.fix


def test_room_is_measured_where_a_folder_would_be(tmp_path: Path) -> None:
    assert machine._free(tmp_path / "not" / "there") == machine._free(tmp_path)


def test_a_card_that_torch_cannot_use_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(machine, "find_card", lambda: None)
    assert machine.check_card().state == "note"
    monkeypatch.setattr(machine, "find_card", lambda: Machine("cuda", "NVIDIA RTX 4090", 24 << 30))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CPU build" in machine.check_card().found
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "_driver_cuda", lambda: "12.4")
    found = machine.check_card()
    assert (found.state, found.fix) == ("fail", "install a driver for CUDA 13.0; this one goes up to 12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert machine.check_card().state == "note"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    assert machine.check_card() == Finding(
        "card", "ok", "NVIDIA RTX 4090, 24.0 GiB, capability 8.9; CUDA 13.0"
    )


def test_the_drivers_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "| NVIDIA-SMI 550.54    Driver Version: 550.54    CUDA Version: 12.4     |"
    monkeypatch.setattr(machine.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=shown))
    assert machine._driver_cuda() == "12.4"


def test_gradients_survive_an_evaluation_with_the_switch() -> None:
    from verifier.doctor.four_bit import check_four_bit, gradient_cosine

    assert gradient_cosine("cpu", switched_off=True) == pytest.approx(1.0, abs=1e-4)
    found = check_four_bit()
    assert found.state == "ok"
    assert "cosine 1.0000" in found.found


def test_wrong_gradients_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from verifier.doctor import four_bit

    monkeypatch.setattr(four_bit, "gradient_cosine", lambda *_, **__: 0.4)
    found = four_bit.check_four_bit()
    assert found.state == "fail"
    assert "quantization=none" in found.fix


def test_the_hub_is_a_note_and_never_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (offline,) = hub.check_hub()
    assert (offline.state, offline.found) == ("note", "offline by HF_HUB_OFFLINE")
    for name in hub._FLAGS:
        monkeypatch.delenv(name, raising=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(hub.urllib.request, "urlopen", refuse)
    away, token = hub.check_hub()
    assert (away.state, away.found) == ("note", "https://huggingface.co does not answer: no route")
    assert token.name == "hub token"
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    assert next(hub.check_hub()).state == "note"


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub, "reach", lambda _: Finding("hub", "ok", "answers"))
    found = list(hub.check_hub())
    assert found[-1].state == "ok"
    assert not any("hf_secret" in part for each in found for part in each)


def test_an_unknown_verifier_is_refused_before_the_machine_is_examined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "examine", lambda: pytest.fail("the machine was examined"))
    done = CliRunner().invoke(cli, ["doctor", "--parity", str(tmp_path)])
    assert done.exit_code == 1
    assert "no verifier.json and no config.json" in done.output
