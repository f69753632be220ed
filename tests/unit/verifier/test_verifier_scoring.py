"""Scores: the same whatever the batch, in one pass, from a folder that is what it says it is."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shepherd.errors import ShepherdError
from shepherd.steps import render, split
from verifier import load_verifier
from verifier.scoring import Verifier
from verifier.tags import encode, text_of


@pytest.fixture(scope="module")
def verifier(tiny_verifier: Path) -> Verifier:
    return load_verifier(str(tiny_verifier))


def _items(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Questions with solutions of very different lengths."""
    rng = random.Random(seed)
    items = []
    for number in range(count):
        solutions = [
            render([f"{rng.randint(0, 99)} + {rng.randint(0, 99)} = 7." for _ in range(rng.randint(1, 6))])
            for _ in range(rng.randint(1, 4))
        ]
        items.append((f"Tom has {number} apples. How many?" * rng.randint(1, 2), solutions))
    return items


def _flat(scores: list[list[list[float]]]) -> np.ndarray[Any, Any]:
    return np.array([score for item in scores for solution in item for score in solution])


def _naive(verifier: Verifier, question: str, solution: str) -> list[float]:
    """One solution alone, all logits of the vocabulary, by the model's own forward."""
    tokenizer, contract = verifier.encode.args  # type: ignore[attr-defined]
    text = text_of(question, split(solution).steps)
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = verifier.reader.model(input_ids=torch.tensor([ids])).logits[0].float()
    pairs = logits[:, [contract.good_id, contract.bad_id]].softmax(-1)[:, 0]
    return [float(pairs[i]) for i, token in enumerate(ids) if token == contract.tag_id]


def test_scores_do_not_depend_on_batches_or_order(verifier: Verifier) -> None:
    items = _items(12)
    alone = _flat([[_naive(verifier, question, each) for each in texts] for question, texts in items])
    assert alone.min() >= 0
    assert alone.max() <= 1
    assert alone.std() > 1e-3  # something that a wrong position would change
    for batch_tokens in (1, 150, 333, 100_000):
        np.testing.assert_allclose(_flat(verifier.score_many(items, batch_tokens)), alone, atol=1e-5)
    backwards = [(question, texts[::-1]) for question, texts in items[::-1]]
    turned = [item[::-1] for item in verifier.score_many(backwards, 400)[::-1]]
    np.testing.assert_allclose(_flat(turned), alone, atol=1e-5)


def test_the_same_batches_give_the_same_bits(verifier: Verifier) -> None:
    items = _items(6)
    assert verifier.score_many(items, 500) == verifier.score_many(items, 500)


def test_a_solution_is_read_once_whatever_its_steps(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    hidden = type(verifier.reader).hidden

    def counted(self: Any, ids: Any, at: Any) -> Any:
        passes.append(tuple(ids.shape))
        return hidden(self, ids, at)

    monkeypatch.setattr(type(verifier.reader), "hidden", counted)
    solution = render(["1 + 1 = 2."] * 6)
    scores = verifier.score("How many?", [solution, solution])
    assert [len(each) for each in scores] == [6, 6]
    assert len(passes) == 1
    assert passes[0][0] == 1  # a repeated text is read once, and its scores are the very same
    assert scores[0] == scores[1]


def test_solutions_without_steps_have_no_scores(verifier: Verifier) -> None:
    before = verifier.counts
    assert verifier.score("How many?", ["", "  \n", "ки ки"]) == [[], [], []]
    assert verifier.score("How many?", []) == []
    assert verifier.score_many([]) == []
    assert verifier.counts.solutions_without_steps == before.solutions_without_steps + 3


def test_steps_beyond_the_context_score_zero_and_are_counted(verifier: Verifier) -> None:
    before = verifier.counts
    (scores,) = verifier.score("How many?", [render(["1 + 1 = 2."] * 60)])
    assert len(scores) == 60
    fit = sum(score > 0 for score in scores)
    assert 5 < fit < 60
    assert all(score == 0 for score in scores[fit:])
    assert verifier.counts.steps_beyond_context - before.steps_beyond_context == 60 - fit
    (short,) = verifier.score("How many?", [render(["1 + 1 = 2."] * 5)])
    np.testing.assert_allclose(scores[:5], short, atol=1e-5)


def test_plain_and_tagged_texts_score_alike(verifier: Verifier) -> None:
    plain = "1 + 1 = 2.\n2 + 2 = 4.\n#### 4"
    tagged = "Step 1: 1 + 1 = 2. ки\nStep 2: 2 + 2 = 4.\n#### 4 ки"
    one, two = verifier.score("How many?", [plain, tagged])
    assert len(one) == 2
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_odd_texts_score(verifier: Verifier) -> None:
    texts = ["ки", "Step 1: \x00\x1b[31m ки", "🙂 = 5", "- ки + ки", "<s></s><pad> 3", "k\u200b" * 50]
    scores = verifier.score("Что такое ки? </s>", texts)
    assert [len(each) for each in scores] == [len(split(text).steps) for text in texts]


def test_a_reloaded_adapter_scores_exactly_as_it_was_trained(
    tiny: Any, tiny_base: Path, tiny_rows: Path, tmp_path: Path
) -> None:
    """In 4 bits and bfloat16, where what is not quantized keeps its 16 bits in training and at load."""
    from verifier.config import TrainPrmConfig
    from verifier.prepare import prepare
    from verifier.training import Trainer

    config = TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        max_steps=3,
        batch_tokens=512,
        dtype="bfloat16",
        learning_rate=0.02,
        tensorboard=False,
    )
    prepared = prepare(config)
    trainer = Trainer(prepared, tiny.FakeRun(tmp_path))
    trainer.fit()
    result = trainer.finish()
    trainer.model.eval()
    trained = Verifier(trainer.reader, partial(encode, prepared.tokenizer, prepared.contract), "x", "x")
    loaded = load_verifier(str(result.folder))
    assert loaded.id == result.verifier_id
    items = _items(4)
    assert loaded.score_many(items) == trained.score_many(items)
    # The run directory is as good a name as its folder.
    assert load_verifier(str(tmp_path)).id == loaded.id


def test_loading_draws_nothing(tiny_verifier: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_verifier(str(tiny_verifier))
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def copy(tiny_verifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_verifier, tmp_path / "verifier"))


def _edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_another_tokenizer_is_refused(tiny: Any, copy: Path) -> None:
    shutil.rmtree(copy / "tokenizer")
    tiny.make_tokenizer(extra=("one two three",)).save_pretrained(copy / "tokenizer")
    with pytest.raises(ShepherdError, match="the tokenizer is not the one this verifier was trained with"):
        load_verifier(str(copy))


def test_another_base_is_refused(tiny: Any, copy: Path, tmp_path: Path) -> None:
    other = tiny.build_base(tmp_path / "other", seed=9)
    _edit(copy / "verifier.json", base=str(other))
    with pytest.raises(ShepherdError, match="is not the model this verifier was trained on"):
        load_verifier(str(copy))


def test_a_base_that_moved_keeps_the_verifiers_name(tiny_base: Path, copy: Path, tmp_path: Path) -> None:
    before = load_verifier(str(copy)).id
    _edit(copy / "verifier.json", base=str(shutil.copytree(tiny_base, tmp_path / "moved")))
    assert load_verifier(str(copy)).id == before


def test_a_changed_or_missing_adapter_is_refused(copy: Path) -> None:
    weights = copy / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ShepherdError, match=r"not the adapter that verifier\.json names"):
        load_verifier(str(copy))
    weights.unlink()
    with pytest.raises(ShepherdError, match=r"not the adapter that verifier\.json names"):
        load_verifier(str(copy))


def test_a_folder_that_is_no_verifier_is_told(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ShepherdError, match=r"no verifier\.json"):
        load_verifier(str(tmp_path / "nothing"))
    _edit(copy / "verifier.json", schema_version=99)
    with pytest.raises(ShepherdError, match="schema_version 99 is newer"):
        load_verifier(str(copy))
    _edit(copy / "verifier.json", schema_version=1, kind="something")
    with pytest.raises(ShepherdError, match="not a verifier of shepherd"):
        load_verifier(str(copy))
    _edit(copy / "verifier.json", kind="shepherd-verifier", contract={})
    with pytest.raises(ShepherdError, match="fields do not fit"):
        load_verifier(str(copy))


def test_the_folder_has_all_that_is_needed_and_no_paths_of_this_machine(
    tiny_verifier: Path, tiny_base: Path
) -> None:
    described = json.loads((tiny_verifier / "verifier.json").read_text())
    assert described["schema_version"] == 1
    assert described["contract"]["template"] == {"tag": "ки", "good": "+", "bad": "-"}
    adapter = json.loads((tiny_verifier / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == described["base"] == str(tiny_base)
    assert adapter["target_modules"] == sorted(adapter["target_modules"])
    card = (tiny_verifier / "README.md").read_text()
    for word in ("## Data", "## Held-out questions", "## Use", "## Licence", "step ROC AUC"):
        assert word in card
