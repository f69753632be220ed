"""Exports: merged by hand and by the library, scored before and after, refused where they would be wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.export.classifier import rows_of, token_classifier
from verifier.export.generator import export_generator, find_adapter
from verifier.export.merge import load_unquantized, merge
from verifier.export.verifier import export_verifier
from verifier.golden_texts import GOLDEN_TEXTS
from verifier.model import load_base

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tiny: Any, tiny_base: Path, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verifier trained on an unquantized base."""
    from verifier.config import TrainPrmConfig
    from verifier.training import train

    config = TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        quantization="none",
        max_steps=4,
        batch_tokens=1024,
        learning_rate=0.01,
        tensorboard=False,
        threads=1,
    )
    folder: Path = train(config, tiny.FakeRun(tmp_path_factory.mktemp("whole"))).folder
    return folder


@pytest.fixture(scope="module")
def exported(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "exported"
    export_verifier(str(whole), out, device="cpu")
    return out


def _flat(scores: list[list[list[float]]]) -> np.ndarray[Any, Any]:
    return np.array([step for item in scores for solution in item for step in solution])


def test_merged_weights_are_base_plus_ba_times_scale(whole: Path, tiny_base: Path) -> None:
    """By hand, from the files; TRL issue 3466 is what a merge into 4 bits gives instead."""
    merged = merge(load_unquantized(str(tiny_base)), whole / "adapter").state_dict()
    base = load_file(tiny_base / "model.safetensors")
    adapter = load_file(whole / "adapter" / "adapter_model.safetensors")
    settings = json.loads((whole / "adapter" / "adapter_config.json").read_text())
    scale = settings["lora_alpha"] / settings["r"]
    adapted = 0
    for name, weight in base.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = (adapter.get(f"{stem}.lora_{side}.weight") for side in "AB")
        expected = weight
        if a is not None and b is not None:
            expected = weight + scale * (b @ a)
            assert (expected - weight).abs().max() > 1e-3
            adapted += 1
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=0)
    assert adapted == 2 * 7
    assert not any("lora" in name for name in merged)


def test_a_base_in_four_bits_is_refused(whole: Path, tiny_base: Path) -> None:
    base = load_base(str(tiny_base), quantization="nf4", dtype="float32", device=CPU)
    with pytest.raises(ShepherdError, match="merged into the 16-bit base only"):
        merge(base, whole / "adapter")


def test_a_checkpoint_that_is_quantized_itself_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ShepherdError, match=r"quantized itself.*--base"):
        load_unquantized(str(folder))


def test_an_adapter_that_went_wrong_is_refused(whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    adapter = Path(shutil.copytree(whole / "adapter", tmp_path / "adapter"))
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file(
        {**weights, name: torch.full_like(weights[name], torch.nan)}, adapter / "adapter_model.safetensors"
    )
    with pytest.raises(ShepherdError, match=r"cannot be merged.*NaN"):
        merge(load_unquantized(str(tiny_base)), adapter)


def test_an_adalora_adapter_merges(tiny_base: Path, tmp_path: Path) -> None:
    import peft

    base = load_unquantized(str(tiny_base))
    config = peft.AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["q_proj", "down_proj"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = peft.get_peft_model(base, config)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.3)
    adapted.eval().save_pretrained(tmp_path)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = adapted(input_ids=ids).logits
        merged = merge(load_unquantized(str(tiny_base)), tmp_path)
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, atol=1e-4, rtol=0)
        plain = load_unquantized(str(tiny_base))(input_ids=ids).logits
    assert (plain - expected).abs().max() > 0.1


def test_exported_scores_are_the_unmerged_verifiers(whole: Path, exported: Path) -> None:
    own, merged = load_verifier(str(whole)), load_verifier(str(exported))
    one, other = (_flat(each.score_many(GOLDEN_TEXTS)) for each in (own, merged))
    assert len(one) == 52
    np.testing.assert_allclose(other, one, atol=1e-5)
    assert one.std() > 1e-3
    assert own.id != merged.id


def test_an_export_says_all_about_itself(whole: Path, exported: Path) -> None:
    described = json.loads((exported / "verifier.json").read_text())
    assert described["classes"] == ["bad", "good"]
    assert described["source_verifier"] == load_verifier(str(whole)).id
    assert described["largest_difference"] < 1e-5
    own = json.loads((whole / "verifier.json").read_text())
    assert own["calibration"] is not None
    assert described["calibration"] == own["calibration"]
    assert described["training_text"] == own["training_text"]
    config = json.loads((exported / "config.json").read_text())
    assert config["architectures"] == ["LlamaForTokenClassification"]
    assert config["id2label"] == {"0": "bad", "1": "good"}
    arguments = json.loads((exported / "vllm.json").read_text())["arguments"]
    assert arguments["pooler_config"]["step_tag_id"] == described["contract"]["tag_id"]
    card = (exported / "README.md").read_text()
    for word in (
        "## Use",
        "## Data",
        "## Held-out questions",
        "## Training",
        "## Licence",
        "vllm.entrypoints.openai.api_server",
        "unquantized",
    ):
        assert word in card
    assert "library_name: transformers" in card
    assert card.count("## Use") == 1
    modes = {path.name: path.stat().st_mode & 0o777 for path in exported.iterdir()}
    assert set(modes.values()) == {modes["config.json"]}


def test_a_plain_transformers_user_gets_the_same_scores(exported: Path) -> None:
    """As the card says: class 1 at each tag, with nothing of this project."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = AutoModelForTokenClassification.from_pretrained(exported).eval()
    tag = json.loads((exported / "verifier.json").read_text())["contract"]["tag_id"]
    ids = [
        tokenizer.bos_token_id,
        *tokenizer("How many? Step 1: 1 + 1 = 2. ки", add_special_tokens=False)["input_ids"],
    ]
    with torch.no_grad():
        classes = model(torch.tensor([ids])).logits.softmax(-1)[0]
    (scores,) = load_verifier(str(exported)).score("How many?", ["Step 1: 1 + 1 = 2. ки"])
    assert float(classes[ids.index(tag), 1]) == pytest.approx(scores[0], abs=1e-5)


def test_the_difference_from_a_verifier_in_four_bits_is_measured(tiny_verifier: Path, tmp_path: Path) -> None:
    result = export_verifier(str(tiny_verifier), tmp_path / "out", device="cpu")
    own, merged = (load_verifier(str(each)) for each in (tiny_verifier, tmp_path / "out"))
    found = np.abs(_flat(own.score_many(GOLDEN_TEXTS)) - _flat(merged.score_many(GOLDEN_TEXTS))).max()
    assert result.largest_difference == pytest.approx(float(found), abs=1e-7)
    assert result.largest_difference > 1e-5  # 4 bits are not 32
    assert f"by at most {result.largest_difference:.2g}" in (tmp_path / "out" / "README.md").read_text()


def test_the_weights_take_the_dtype_asked_for(whole: Path, tmp_path: Path) -> None:
    result = export_verifier(str(whole), tmp_path / "out", dtype="bfloat16", device="cpu")
    assert result.dtype == "bfloat16"
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert 1e-5 < result.largest_difference < 0.1


class _OneValue(nn.Linear):
    """A head as an outcome model has it: one value, and 0 beside it."""

    def pair_logits(self, hidden: Tensor) -> Tensor:
        value = self(hidden.float())
        return torch.cat([value, torch.zeros_like(value)], dim=-1)


class _TwoRows(nn.Linear):
    """A head as a classifier has it."""

    def pair_logits(self, hidden: Tensor) -> Tensor:
        pair: Tensor = self(hidden.float())
        return pair


@pytest.mark.parametrize("head", [_OneValue(32, 1), _TwoRows(32, 2)])
def test_heads_with_weights_of_their_own_become_two_rows(head: Any, tiny_base: Path) -> None:
    nn.init.normal_(head.bias)
    base = load_unquantized(str(tiny_base))
    model = token_classifier(base, rows_of(head, 32, CPU))
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = head.pair_logits(base.model(ids).last_hidden_state[0]).softmax(-1)
        got = model(ids).logits[0].softmax(-1)
    torch.testing.assert_close(got[:, 1], expected[:, 0], atol=1e-6, rtol=0)


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_weights_that_changed_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ShepherdError, match=r"not the weights verifier\.json names"):
        load_verifier(str(copy))


def test_another_tokenizer_is_refused(tiny: Any, copy: Path) -> None:
    tiny.make_tokenizer(extra=("one two three",)).save_pretrained(copy)
    with pytest.raises(ShepherdError, match="the tokenizer is not the one"):
        load_verifier(str(copy))


def test_an_export_without_its_description_is_not_taken_for_another_format(copy: Path) -> None:
    (copy / "verifier.json").unlink()
    with pytest.raises(ShepherdError, match="no format claims"):
        load_verifier(str(copy))


def test_a_broken_description_is_told(copy: Path) -> None:
    path = copy / "verifier.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "classes": ["good", "great"]}))
    with pytest.raises(ShepherdError, match="export again"):
        load_verifier(str(copy))
    described.pop("contract")
    path.write_text(json.dumps(described))
    with pytest.raises(ShepherdError, match="fields do not fit"):
        load_verifier(str(copy))


def test_another_base_is_refused_and_nothing_is_left(tiny: Any, whole: Path, tmp_path: Path) -> None:
    other = tiny.build_base(tmp_path / "other", seed=5)
    with pytest.raises(ShepherdError, match="not the base that"):
        export_verifier(str(whole), tmp_path / "out", base=str(other), device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_generators_adapter_is_merged_too(whole: Path, tiny_base: Path, tmp_path: Path) -> None:
    """As an SFT run leaves it: adapter and tokenizer in folders of the run."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = tmp_path / "run"
    shutil.copytree(whole / "adapter", run / "generator" / "adapter")
    shutil.copytree(whole / "tokenizer", run / "generator" / "tokenizer")
    adapter = find_adapter(str(run))
    assert adapter == run / "generator" / "adapter"
    result = export_generator(adapter, tmp_path / "out")
    assert (result.base, result.dtype) == (str(tiny_base), "float32")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(ids).logits
        adapted = PeftModel.from_pretrained(load_unquantized(str(tiny_base)), str(adapter)).eval()(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()


def test_which_adapter_is_asked_where_there_are_several(whole: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(whole / "adapter", tmp_path / name)
    with pytest.raises(ShepherdError, match="holds 2 adapters"):
        find_adapter(str(tmp_path))
    assert find_adapter(str(tmp_path / "one")) == tmp_path / "one"
    assert find_adapter(str(tmp_path / "none")) is None
