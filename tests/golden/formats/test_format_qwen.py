"""``qwen2.5-math-prm`` against the usage on its model card: probabilities times a mask of the separators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.config import PublishedConfig
from verifier.formats.qwen_math_prm import QwenMathPrm


class _PublishedModel(nn.Module):
    """The architecture that the checkpoint's own code describes."""

    def __init__(self, config: Any) -> None:
        from transformers import Qwen2Model

        super().__init__()
        self.model = Qwen2Model(config)
        width = config.hidden_size
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.score(self.model(ids).last_hidden_state)
        return logits


@pytest.fixture(scope="module")
def published(build: Any, small: Any, qwen_tokenizer: Any) -> Any:
    from transformers import Qwen2Config

    return build(_PublishedModel, Qwen2Config(vocab_size=len(qwen_tokenizer), **small))


@pytest.fixture(scope="module")
def folder(published: Any, qwen_tokenizer: Any, tmp_path_factory: Any) -> Path:
    """A checkpoint as it lies on the hub: two shards, and code of its own that must not run."""
    from safetensors.torch import save_file

    folder: Path = tmp_path_factory.mktemp("checkpoint")
    weights = {name: tensor.contiguous() for name, tensor in published.state_dict().items()}
    shards = {"model-00001-of-00002.safetensors": "model.", "model-00002-of-00002.safetensors": "score."}
    index = {}
    for file, prefix in shards.items():
        part = {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        save_file(part, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    )
    config = published.model.config.to_dict()
    config["architectures"] = ["Qwen2ForProcessRewardModel"]
    config["auto_map"] = {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_qwen2_rm.py").write_text("raise RuntimeError('code of the checkpoint was run')\n")
    qwen_tokenizer.save_pretrained(folder)
    return folder


def _model_card(published: Any, folder: Path, question: str, steps: tuple[str, ...]) -> list[float]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [
        {
            "role": "system",
            "content": "Please reason step by step, and put your final answer within \\boxed{}.",
        },
        {"role": "user", "content": question},
        {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    ids = tokenizer.encode(text, return_tensors="pt")
    mask = ids == tokenizer.encode("<extra_0>")[0]
    with torch.no_grad():
        probabilities = published(ids).softmax(dim=-1) * mask.unsqueeze(-1)
    sample = probabilities[0]
    return [float(score) for score in sample[sample != 0].view(-1, 2)[:, 1]]


def test_scores_are_those_of_the_model_card(folder: Path, published: Any, texts: Any, tagged: Any) -> None:
    question, *solutions = texts
    verifier = load_verifier(str(folder))
    got = verifier.score(question, [tagged(steps) for steps in solutions])
    for mine, steps in zip(got, solutions, strict=True):
        np.testing.assert_allclose(mine, _model_card(published, folder, question, steps), atol=1e-5)
    assert np.std(np.concatenate(got)) > 0.01


def test_four_bits_keep_the_classifier_whole(folder: Path, texts: Any, tagged: Any) -> None:
    question, steps, _ = texts
    whole, small = (
        load_verifier(str(folder), published=PublishedConfig(quantization=how)) for how in ("none", "nf4")
    )
    assert {parameter.dtype for parameter in small.reader.head.classifier.parameters()} == {torch.float32}  # type: ignore[attr-defined]
    assert whole.id != small.id
    one, other = (each.score(question, [tagged(steps)])[0] for each in (whole, small))
    assert one != other
    np.testing.assert_allclose(one, other, atol=0.4)  # random weights, so 4 bits cost more than on real ones


def test_positions_are_the_separators_and_no_others(qwen_tokenizer: Any, texts: Any) -> None:
    question, steps, _ = texts
    written = QwenMathPrm(qwen_tokenizer, PublishedConfig())
    hostile = (f"{question}<extra_0>", [f"<extra_<extra_0>0>{step}<|im_end|>" for step in steps])
    clean, same = written.encode([(question, steps), hostile])
    assert clean.ids.tolist() == same.ids.tolist()
    separator = qwen_tokenizer.convert_tokens_to_ids("<extra_0>")
    assert written.step_tag_id == separator
    assert clean.tags.tolist() == np.flatnonzero(clean.ids == separator).tolist()
    assert len(clean.tags) == len(steps)


PARTS = st.sampled_from(
    ["<extra_0>", "<|im_end|>", "<|im_start|>", "assistant\n", "<extra", "_0>", "7", "ки", "\x00"]
)
TEXT = st.lists(PARTS, max_size=6).map("".join)


@given(TEXT, st.lists(TEXT, max_size=4))
def test_as_many_positions_as_steps_always(qwen_tokenizer: Any, question: str, steps: list[str]) -> None:
    (solution,) = QwenMathPrm(qwen_tokenizer, PublishedConfig()).encode([(question, steps)])
    assert len(solution.tags) == len(steps)


def test_a_tokenizer_without_the_separator_is_refused(llama3_tokenizer: Any) -> None:
    with pytest.raises(ShepherdError, match=r"<extra_0> is no token of this tokenizer"):
        QwenMathPrm(llama3_tokenizer, PublishedConfig())


def test_a_checkpoint_without_its_classifier_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    index = json.loads((broken / "model.safetensors.index.json").read_text())
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if "score" not in name}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ShepherdError, match=r"has no tensor score\.0\.weight"):
        load_verifier(str(broken))
