"""What the sampler keeps, and under which model: hub names, adapters, servers, models that change."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import generation.generate as room
import generation.kept
from generation.config import GenerateConfig
from generation.engines import Prompt, Sampling
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem
from shepherd.serving import VllmConfig
from shepherd.store import Store

PROBLEMS = [Problem(f"p{index}", f"How many? {index}", str(index)) for index in range(6)]
CONFIG = GenerateConfig(model="org/model", chunk=6, device="cpu")  # two problems of n = 3 a chunk


class StandIn:
    """Answers, and says what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        self.asked += [prompt.key for prompt in prompts]
        return [
            [Candidate(f"{prompt.text}: {i}", self.name, "stop", 3, -1.0) for i in range(n)]
            for prompt in prompts
        ]

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn("org/model")
    monkeypatch.setattr(room, "load_engine", lambda *_, **__: stand_in)
    return stand_in


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The hub's cache: names and their commits."""
    cached: dict[str, str] = {}

    def identity(name: str, _store: Store) -> dict[str, Any] | None:
        return {"hub": name, "commit": cached[name]} if name in cached else None

    monkeypatch.setattr(generation.kept, "model_identity", identity)
    return cached


def sample(folder: Path, config: GenerateConfig = CONFIG, problems: int = 6) -> bytes:
    path = folder / "pool.jsonl"
    path.unlink(missing_ok=True)
    room.sample_pool(config, 3, PROBLEMS[:problems], path)
    return path.read_bytes()


def test_a_chunk_that_was_kept_is_not_sampled_again(
    engine: StandIn, commits: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits["org/model"] = "c1"
    sample(tmp_path, problems=4)
    engine.asked.clear()
    mixed = sample(tmp_path)
    assert engine.asked == ["p4", "p5"]
    told = capsys.readouterr().err
    assert "4 problems, 12 candidates of org/model from the store\n" in told
    assert "sampling: 18/18 candidates" in told
    assert mixed == sample(tmp_path, CONFIG.model_copy(update={"store": False}))


def test_a_resumed_run_takes_the_rest_of_its_chunk_from_the_store(
    engine: StandIn, commits: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commits["org/model"] = "c1"
    whole = sample(tmp_path)
    engine.asked.clear()
    (tmp_path / "pool.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]) + b'{"half')
    room.sample_pool(CONFIG, 3, PROBLEMS, tmp_path / "pool.jsonl")
    assert engine.asked == []
    assert (tmp_path / "pool.jsonl").read_bytes() == whole
    assert "3 problems, 9 candidates of org/model from the store" in capsys.readouterr().err


def test_a_model_that_is_fetched_when_it_is_loaded_is_kept(
    engine: StandIn, commits: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> StandIn:
        commits["org/model"] = "c1"
        return engine

    monkeypatch.setattr(room, "load_engine", load)
    first = sample(tmp_path)
    monkeypatch.setattr(room, "load_engine", None)
    assert sample(tmp_path) == first


def test_a_model_that_stays_unknown_is_told_once_and_not_kept(
    engine: StandIn,
    commits: dict[str, str],
    tmp_path: Path,
    own_store: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample(tmp_path)
    told = capsys.readouterr().err
    assert told.count("store: org/model: nobody can tell which model this name stands for") == 1
    with Store(own_store) as store:
        assert list(store.stored()) == []


def test_two_models_are_never_mixed_in_one_pool(
    engine: StandIn, commits: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits["org/model"] = "c1"
    sample(tmp_path, problems=4)

    def load(*_: object, **__: object) -> StandIn:
        commits["org/model"] = "c2"  # the hub has a newer one
        return engine

    monkeypatch.setattr(room, "load_engine", load)
    with pytest.raises(
        ShepherdError, match="has changed since 4 problems were read from the store; run again"
    ):
        sample(tmp_path)
    engine.asked.clear()
    assert (tmp_path / "pool.jsonl").exists() is False
    sample(tmp_path)
    assert engine.asked == [problem.id for problem in PROBLEMS]


def test_an_engine_that_is_given_goes_without_the_store(
    commits: dict[str, str], tmp_path: Path, own_store: Path
) -> None:
    """Its weights may be of this very moment, as in a training loop."""
    commits["org/model"] = "c1"
    engine = StandIn("org/model")
    for name in ("a", "b"):
        room.sample_pool(CONFIG, 3, PROBLEMS, tmp_path / name, engine)
    assert len(engine.asked) == 12
    assert not own_store.exists()


def test_an_adapter_is_known_by_its_content(
    engine: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    model.mkdir()
    adapter.mkdir()
    (model / "model.safetensors").write_text("weights")
    (adapter / "adapter_model.safetensors").write_text("low rank")
    (adapter / "adapter_config.json").write_text("{}")

    def config(adapter: Path, **more: Any) -> GenerateConfig:
        engine.name = f"{model}+{adapter}"
        return GenerateConfig(
            model=str(model),
            adapter=str(adapter),
            engine="vllm",
            chunk=6,
            device="cpu",
            vllm=VllmConfig(**more),
        )

    first = sample(tmp_path, config(adapter))
    copy = shutil.copytree(adapter, tmp_path / "copy")
    engine.asked.clear()
    second = sample(tmp_path, config(copy, gpu_memory_utilization=0.5))  # how much memory decides nothing
    assert engine.asked == []
    assert second == first.replace(f"+{adapter}".encode(), f"+{copy}".encode())
    sample(tmp_path, config(copy, max_model_len=64))
    assert len(engine.asked) == 6
    (copy / "adapter_model.safetensors").write_text("trained on")
    sample(tmp_path, config(copy))
    assert len(engine.asked) == 12


def test_what_a_server_has_is_kept_only_under_a_name_that_the_user_answers_for(
    engine: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any engine that computes elsewhere is a server to the store."""
    monkeypatch.delitem(generation.kept._COMPUTES, "vllm")
    served = CONFIG.model_copy(update={"engine": "vllm"})
    for _ in range(2):
        sample(tmp_path, served)
    assert len(engine.asked) == 12
    assert capsys.readouterr().err.count("nobody can tell") == 2
    named = served.model_copy(update={"store_as": "the model of November"})
    first = sample(tmp_path, named)
    engine.asked.clear()
    assert sample(tmp_path, named) == first
    assert engine.asked == []
    sample(tmp_path, served.model_copy(update={"store_as": "the model of December"}))
    assert len(engine.asked) == 6


def test_store_as_agrees_with_the_cache_or_is_refused(
    engine: StandIn, commits: dict[str, str], tmp_path: Path
) -> None:
    commits["org/model"] = "c1"
    first = sample(tmp_path, CONFIG.model_copy(update={"store_as": "c1"}))
    del commits["org/model"]
    engine.asked.clear()
    assert sample(tmp_path, CONFIG.model_copy(update={"store_as": "c1"})) == first  # no files are needed
    assert engine.asked == []
    commits["org/model"] = "c2"
    with pytest.raises(
        ShepherdError, match="store_as: 'c1' was given, and org/model is known by c2; remove it"
    ):
        sample(tmp_path, CONFIG.model_copy(update={"store_as": "c1"}))
