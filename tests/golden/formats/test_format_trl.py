"""``trl`` against PRMTrainer's own rows (TRL 1.13, tokenize_row): the labels that are not -100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.config import PublishedConfig
from verifier.formats.trl import Trl


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request: Any, build: Any, small: Any, tmp_path_factory: Any) -> Path:
    """A tokenizer with a BOS, and one without."""
    from transformers import (
        LlamaConfig,
        LlamaForTokenClassification,
        Qwen2Config,
        Qwen2ForTokenClassification,
    )

    kind, config, name = {
        "llama": (LlamaForTokenClassification, LlamaConfig, "llama3_tokenizer"),
        "qwen2": (Qwen2ForTokenClassification, Qwen2Config, "qwen_tokenizer"),
    }[request.param]
    tokenizer = request.getfixturevalue(name)
    folder: Path = tmp_path_factory.mktemp(request.param)
    model = build(kind, config(vocab_size=len(tokenizer), num_labels=2, **small))
    with torch.no_grad():
        model.score.bias.copy_(torch.tensor([0.7, -0.4]))  # it is 0 in a fresh model
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _trained_rows(folder: Path, question: str, steps: tuple[str, ...], separator: str) -> list[float]:
    """Rows as the trainer built them: a label on each separator's last token, -100 elsewhere."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer(question, add_special_tokens=False)["input_ids"]
    if tokenizer.bos_token_id is not None:
        ids = [tokenizer.bos_token_id, *ids]
    labels = [-100] * len(ids)
    for step in steps:
        part = tokenizer(step, add_special_tokens=False)["input_ids"]
        part = part + tokenizer.encode(separator, add_special_tokens=False)
        ids, labels = ids + part, labels + [-100] * (len(part) - 1) + [1]
    with torch.no_grad():
        classes = model(input_ids=torch.tensor([ids])).logits.softmax(dim=-1)[0]
    return [float(classes[at, 1]) for at, label in enumerate(labels) if label != -100]


@pytest.mark.parametrize("separator", ["\n", "\n\n", " +x\n"])
def test_scores_are_those_of_the_trained_positions(
    folder: Path, texts: Any, tagged: Any, separator: str
) -> None:
    question, *solutions = texts
    verifier = load_verifier(str(folder), published=PublishedConfig(separator=separator))
    got = verifier.score(question, [tagged(steps) for steps in solutions])
    for mine, steps in zip(got, solutions, strict=True):
        np.testing.assert_allclose(mine, _trained_rows(folder, question, steps, separator), atol=1e-5)
    assert np.std(np.concatenate(got)) > 0.01


TEXT = st.lists(st.sampled_from([*"ab1\n +-к<>|\x00", "<|eot_id|>"]), max_size=8).map("".join)


@given(TEXT, st.lists(TEXT, max_size=4))
def test_as_many_positions_as_steps_always(llama3_tokenizer: Any, question: str, steps: list[str]) -> None:
    written = Trl(llama3_tokenizer, PublishedConfig())
    (solution,) = written.encode([(question, steps)])
    (newline,) = written.separator
    assert len(solution.tags) == len(steps)
    assert (solution.ids[solution.tags] == newline).all()
    assert solution.ids[0] == llama3_tokenizer.bos_token_id


def test_another_number_of_classes_is_refused(
    build: Any, small: Any, llama3_tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import LlamaConfig, LlamaForTokenClassification

    model = build(
        LlamaForTokenClassification, LlamaConfig(vocab_size=len(llama3_tokenizer), num_labels=3, **small)
    )
    model.save_pretrained(tmp_path)
    llama3_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ShepherdError, match="the classifier has 3 classes, expected 2"):
        load_verifier(str(tmp_path))


def test_a_separator_that_is_nothing_is_refused(llama3_tokenizer: Any) -> None:
    import copy

    from tokenizers import normalizers

    tokenizer = copy.deepcopy(llama3_tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(ShepherdError, match=r"--set published\.separator"):
        Trl(tokenizer, PublishedConfig())
