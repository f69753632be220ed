"""What a model is to the store: its content, or the commit of its snapshot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import huggingface_hub.constants
import pytest

from shepherd.identity import model_identity, model_label, versions
from shepherd.store import Store


@pytest.fixture
def store(own_store: Path) -> Iterator[Store]:
    with Store(own_store) as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    files = {
        "model.safetensors": "weights", "config.json": "{}", "generation_config.json": "{}",
        "tokenizer.json": "{}", "tokenizer_config.json": "{}", "README.md": "a card",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_same_files_elsewhere_are_the_same_model(store: Store, model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "README.md").write_text("another card")
    assert model_identity(str(copy), store) == model_identity(str(model), store)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("model.safetensors", "sha256"),
        ("config.json", "sha256"),
        ("generation_config.json", "sha256"),
        ("modeling_own.py", "sha256"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "tokenizer"),
    ],
)
def test_any_file_that_decides_makes_another_model(
    store: Store, model: Path, file: str, changes: str
) -> None:
    before = model_identity(str(model), store)
    (model / file).write_text("something else")
    after = model_identity(str(model), store)
    assert before is not None
    assert after is not None
    assert {name for name in before if before[name] != after[name]} == {changes}


def test_an_adapter_is_known_by_its_base_too(store: Store, model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_text("low rank")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    found = model_identity(str(adapter), store)
    assert found is not None
    assert found["base"] == model_identity(str(model), store)
    (model / "model.safetensors").write_text("other weights")
    assert model_identity(str(adapter), store) != found
    shutil.rmtree(model)
    assert model_identity(str(adapter), store) is None


def test_a_hub_name_is_the_commit_in_the_cache(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert model_identity("org/model", store) is None
    repo, commit = tmp_path / "models--org--model", "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / "config.json").write_text("{}")
    assert model_identity("org/model", store) == {"hub": "org/model", "commit": commit}
    (repo / "refs" / "main").write_text("f" * 40)  # a newer one that is not here
    assert model_identity("org/model", store) is None


@pytest.mark.parametrize("name", ["no/such/folder/anywhere", "a b c", "x" * 300, "../up", "org/--"])
def test_what_is_neither_folder_nor_name_is_unknown(store: Store, name: str) -> None:
    assert model_identity(name, store) is None


def test_packaged_models_differ(store: Store) -> None:
    weak, strong = model_identity("embedded:weak", store), model_identity("embedded:strong", store)
    assert weak is not None
    assert strong is not None
    assert weak["sha256"] != strong["sha256"]


def test_a_label_shows_no_path_of_this_machine(model: Path) -> None:
    assert model_label(str(model)) == "tiny"
    assert model_label("/gone/tiny") == "tiny"


def test_versions_leave_out_the_builds_own_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "vllm":
            raise metadata.PackageNotFoundError
        return {"torch": "2.13.0+cpu", "transformers": "5.17.0"}[package]

    monkeypatch.setattr(metadata, "version", version)
    assert versions(["torch", "transformers", "vllm"]) == {"torch": "2.13.0", "transformers": "5.17.0"}
