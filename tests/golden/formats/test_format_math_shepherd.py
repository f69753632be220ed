"""``math-shepherd`` against the usage on its model card (peiyi9979/math-shepherd-mistral-7b-prm)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from verifier import load_verifier
from verifier.config import PublishedConfig
from verifier.formats.math_shepherd import MathShepherd


@pytest.fixture(scope="module")
def folder(build: Any, small: Any, mistral_tokenizer_folder: Path, tmp_path_factory: Any) -> Path:
    from transformers import MistralConfig, MistralForCausalLM

    folder = tmp_path_factory.mktemp("hub") / "math-shepherd-mistral-7b-prm"
    build(MistralForCausalLM, MistralConfig(vocab_size=32000, sliding_window=None, **small)).save_pretrained(
        folder
    )
    shutil.copytree(mistral_tokenizer_folder, folder, dirs_exist_ok=True)
    return folder


def _model_card(folder: Path, question: str, output: str) -> list[float]:
    """What the model card does: all logits of one text, sliced at the candidates and at the tag.

    Its tokenizer was sentencepiece's own with a BOS before; so it is here.
    """
    import sentencepiece
    from transformers import AutoModelForCausalLM

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    candidates = pieces.encode("+ -")
    assert candidates == [648, 387]
    tag = pieces.encode("ки")[-1]
    assert tag == 12902
    ids = torch.tensor([[pieces.bos_id(), *pieces.encode(f"{question} {output}")]])
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(dim=-1)[:, :, 0]
    return [float(score) for score in scores[ids == tag]]


def test_scores_are_those_of_the_model_card(folder: Path, texts: Any, tagged: Any) -> None:
    question, *solutions = texts
    verifier = load_verifier(str(folder))
    got = verifier.score(question, [tagged(steps) for steps in solutions])
    expected = [_model_card(folder, question, tagged(steps)) for steps in solutions]
    assert [len(each) for each in got] == [3, 2]
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert np.std(np.concatenate(got)) > 0.01  # a wrong position or class would show


def test_ids_of_the_published_vocabulary(folder: Path) -> None:
    """Ids as sentencepiece itself cuts the text (Mistral v1, 32,000 pieces), BOS first.

    Beside a config.json AutoTokenizer alone gives another first token (3195 for 1824).
    """
    import sentencepiece

    from verifier.model import load_tokenizer

    written = MathShepherd(load_tokenizer(str(folder)), PublishedConfig())
    assert (written.contract.tag_id, written.contract.good_id, written.contract.bad_id) == (12902, 648, 387)
    assert written.step_tag_id == 12902
    (solution,) = written.encode([("What is 2+2?", ["Step 1: 2+2=4.", "Step 2: The answer is: 4"])])
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    text = "What is 2+2? Step 1: 2+2=4. ки\nStep 2: The answer is: 4 ки"
    assert solution.ids.tolist() == [1, *pieces.encode(text)]
    assert solution.ids.tolist() == [
        1,
        1824,
        349,
        28705,
        28750,
        28806,
        28750,
        28804,
        7268,
        28705,
        28740,
        28747,
        28705,
        28750,
        28806,
        28750,
        28746,
        28781,
        28723,
        12902,
        13,
        9977,
        28705,
        28750,
        28747,
        415,
        4372,
        349,
        28747,
        28705,
        28781,
        12902,
    ]
    assert solution.tags.tolist() == [19, 31]
    assert 28806 in solution.ids  # the + of a calculation is no label
