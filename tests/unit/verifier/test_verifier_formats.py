"""Which format a checkpoint has, where its files are, and what is said when they are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.config import FormatName, PublishedConfig
from verifier.formats import FORMATS, recognise
from verifier.formats.checkpoint import locate
from verifier.places import find_place, input_files

CAUSAL = {"architectures": ["LlamaForCausalLM"], "vocab_size": 128256}


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        (
            "peiyi9979/math-shepherd-mistral-7b-prm",
            {"architectures": ["MistralForCausalLM"]},
            "math-shepherd",
        ),
        ("/models/Math-Shepherd-Mistral-7B-PRM", {}, "math-shepherd"),
        ("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", CAUSAL, "rlhflow"),
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", CAUSAL, "rlhflow"),
        ("mine", {**CAUSAL, "_name_or_path": "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"}, "rlhflow"),
        ("Qwen/Qwen2.5-Math-PRM-7B", {"architectures": ["Qwen2ForProcessRewardModel"]}, "qwen2.5-math-prm"),
        ("Qwen/Qwen2.5-Math-PRM-72B", {}, "qwen2.5-math-prm"),
        ("mine", {"architectures": ["Qwen2ForProcessRewardModel"]}, "qwen2.5-math-prm"),
        ("mine", {"auto_map": {"AutoModel": "modeling.Qwen2ForProcessRewardModel"}}, "qwen2.5-math-prm"),
        ("mine", {"architectures": ["Qwen2ForTokenClassification"]}, "trl"),
        ("mine", {"architectures": ["LlamaForTokenClassification"], "id2label": {"0": "LABEL_0"}}, "trl"),
    ],
)
def test_a_format_is_known_by_name_or_config(name: str, config: dict[str, Any], expected: str) -> None:
    assert recognise(name, config).name == expected


@pytest.mark.parametrize(
    "config",
    [
        CAUSAL,
        {},
        {"architectures": None, "auto_map": None, "id2label": None},
        {"architectures": ["LlamaForTokenClassification"], "id2label": {"0": "bad", "1": "good"}},
    ],
)
def test_what_no_format_claims_is_refused_with_all_of_them(config: dict[str, Any]) -> None:
    """A base model would give numbers too."""
    with pytest.raises(ShepherdError) as caught:
        recognise("meta-llama/Meta-Llama-3-8B", config)
    said = str(caught.value)
    assert "\n" not in said
    assert f"--set format=NAME: {', '.join(FORMATS)}" in said


def test_a_format_asked_for_settles_it() -> None:
    assert recognise("mine", CAUSAL, "math-shepherd").name == "math-shepherd"


def test_the_config_knows_every_format() -> None:
    from typing import get_args

    assert set(get_args(FormatName)) == {"auto", *FORMATS}


def test_places(tmp_path: Path, tiny_verifier: Path) -> None:
    assert find_place("embedded").kind == "trained"
    assert find_place(str(tiny_verifier)).kind == "trained"
    assert find_place(str(tiny_verifier.parent)).folder == tiny_verifier  # the run
    assert find_place("RLHFlow/Llama3.1-8B-PRM-Mistral-Data").folder is None
    (tmp_path / "config.json").write_text("{}")
    assert find_place(str(tmp_path)) == find_place(str(tmp_path))
    assert find_place(str(tmp_path)).kind == "published"
    assert input_files(str(tmp_path)) == [tmp_path / "config.json"]
    assert input_files("RLHFlow/Llama3.1-8B-PRM-Mistral-Data") == []
    for nothing in ("nothing", "../nothing", "a/b/c", str(tmp_path / "nothing")):
        with pytest.raises(ShepherdError, match=r"no verifier\.json and no config\.json"):
            find_place(nothing)


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def test_a_base_is_no_verifier_until_it_is_said(base: Path) -> None:
    with pytest.raises(ShepherdError, match=r"checkpoint \(LlamaForCausalLM\) that no format claims"):
        load_verifier(str(base))
    verifier = load_verifier(str(base), format="math-shepherd")
    assert len(verifier.score("How many?", ["1 + 1 = 2.\n2 + 2 = 4."])[0]) == 2


def test_weights_that_would_be_random_are_refused(base: Path) -> None:
    with pytest.raises(ShepherdError, match=r"weights of LlamaForTokenClassification are not in its files"):
        load_verifier(str(base), format="trl")


def test_ids_name_weights_format_and_options_but_no_place(base: Path, tmp_path: Path) -> None:
    first = load_verifier(str(base), format="math-shepherd").id
    moved = Path(shutil.copytree(base, tmp_path / "moved"))
    assert load_verifier(str(moved), format="math-shepherd").id == first
    sixteen = PublishedConfig(dtype="bfloat16")
    assert load_verifier(str(base), format="math-shepherd", published=sixteen).id != first
    weights = moved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert load_verifier(str(moved), format="math-shepherd").id != first


def test_missing_files_are_named(base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(
        ShepherdError, match=r"not a whole checkpoint; put there config\.json, \*\.safetensors"
    ):
        load_verifier(str(base), format="trl")


def test_without_the_hub_one_line_says_which_files_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ShepherdError) as caught:
        load_verifier("RLHFlow/Llama3.1-8B-PRM-Mistral-Data")
    said = str(caught.value)
    assert "\n" not in said
    assert "HF_HUB_OFFLINE is set" in said
    assert "tokenizer_config.json into a folder and give it with --verifier FOLDER" in said


def test_a_snapshot_of_the_hub_is_named_by_its_commit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = Path(shutil.copytree(base, tmp_path / "snapshots" / commit))
    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert name == "owner/prm"
        asked.append(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = locate("owner/prm", None)
    assert (found.folder, found.identity) == (snapshot, commit)
    assert len(asked) == 1
    assert "*.safetensors" in asked[0]
    assert not any("py" in pattern or "bin" in pattern for pattern in asked[0])
    locate("owner/prm", None, with_code=True)
    assert "*.py" in asked[1]
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    locate("owner/prm", None)
    assert "*.bin" in asked[-1]  # only where there are no safetensors


def test_config_of_a_folder_is_read_without_its_code(base: Path) -> None:
    """Code that comes with a checkpoint is not run unless that is asked for."""
    config = json.loads((base / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    (base / "config.json").write_text(json.dumps(config))
    (base / "evil.py").write_text("raise RuntimeError('run')")
    assert load_verifier(str(base), format="math-shepherd").score("How?", ["1 + 1 = 2."])[0]
