"""The tag contract: ids in context, round trips, and every way in which a tag can be ambiguous."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.steps import TAG
from verifier.tags import TagContract, Template, check, encode, fingerprint, resolve, text_of, without_tag


@pytest.fixture(scope="session")
def mistral(foreign_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real Mistral v1 vocabulary, as the published Math-Shepherd verifier has it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("mistral")
    shutil.copyfile(foreign_data / "tokenizers" / "mistral_tokenizer.model.v1", folder / "tokenizer.model")
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return AutoTokenizer.from_pretrained(folder)


def test_mistral_has_the_published_ids(mistral: Any) -> None:
    contract = resolve(mistral)
    assert (contract.good_id, contract.bad_id, contract.tag_id) == (648, 387, 12902)


def test_mistral_round_trip_on_real_rows(mistral: Any, foreign_data: Path) -> None:
    from verifier.data.rows import read_rows

    contract = resolve(mistral)
    rows, _ = read_rows(str(foreign_data / "math_shepherd" / "openr_samples_math-shepherd.jsonl"))
    for row, solution in zip(
        rows, encode(mistral, contract, [(r.question, r.steps) for r in rows]), strict=True
    ):
        assert len(solution.tags) == len(row.steps)
        assert (solution.ids[solution.tags] == contract.tag_id).all()
        assert solution.ids[0] == mistral.bos_token_id


def test_mistral_plus_inside_a_calculation_is_no_label(mistral: Any) -> None:
    contract = resolve(mistral)
    (solution,) = encode(mistral, contract, [("2+2?", ["Step 1: 2+2=<<2+2=4>>4."])])
    assert 28806 in solution.ids
    assert contract.good_id not in solution.ids


def test_mistral_tags_inside_russian_words_are_told_apart(mistral: Any) -> None:
    contract = resolve(mistral)
    question = "Сколько руски у них?"  # the word is cut up by the removal of its "ки"
    (solution,) = encode(mistral, contract, [(question, ["Step 1: 2", "Step 2: 3"])])
    assert len(solution.tags) == 2


def test_a_tag_that_only_the_tokenizer_sees_in_the_question_is_told_apart(tiny: Any) -> None:
    """A vocabulary that lowers letters reads the tag where the text does not hold it."""
    from tokenizers import normalizers

    tokenizer = tiny.make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    contract = resolve(tokenizer)
    (solution,) = encode(tokenizer, contract, [("What is КИ here?", ["Step 1: 2", "Step 2: 3 КИ 4"])])
    everywhere = np.flatnonzero(solution.ids == contract.tag_id)
    assert len(everywhere) == 4
    assert solution.tags.tolist() == [everywhere[1], everywhere[3]]


def test_labels_are_the_tokens_in_the_tags_place(tiny: Any) -> None:
    tokenizer = tiny.make_tokenizer()
    contract = resolve(tokenizer)
    bare, spaced = (tokenizer(sign, add_special_tokens=False)["input_ids"] for sign in ("+", " +"))
    assert len(bare) == len(spaced) == 1
    assert bare != spaced
    assert contract.good_id == spaced[0]
    assert tokenizer.convert_ids_to_tokens([contract.tag_id, contract.bad_id]) == ["ĠÐºÐ¸", "Ġ-"]


def test_labels_that_merge_with_the_newline_stay_themselves(tiny: Any) -> None:
    """As in Llama-3, where replacing tags by labels in the text would give other tokens (3694, 18722)."""
    tokenizer = tiny.make_tokenizer(tiny.SIGNS_TAKE_NEWLINES, extra=("so 3 +\nthen", "so 3 -\nthen"))
    merged = tokenizer("so 3 +\nthen", add_special_tokens=False)["input_ids"]
    contract = resolve(tokenizer)
    assert contract.good_id not in merged  # the trap is there
    steps = ["Step 1: 1 + 2 = 3.", "Step 2: 3 - 1 = 2."]
    (solution,) = encode(tokenizer, contract, [("How many?", steps)])
    assert (solution.ids[solution.tags] == contract.tag_id).all()
    assert len(solution.tags) == 2


def test_a_tag_of_several_tokens_is_refused_with_a_way_out(tiny: Any) -> None:
    tokenizer = tiny.make_tokenizer(unseen=TAG)
    with pytest.raises(ShepherdError) as caught:
        resolve(tokenizer)
    said = str(caught.value)
    assert f"'{TAG}' is " in said
    assert "tokens" in said
    proposed = said.rpartition("--set template.tag=")[2]
    if proposed != "…":
        assert resolve(tokenizer, Template(tag=proposed)).template.tag == proposed
    # A string that is one token of this vocabulary after a blank will do.
    assert resolve(tokenizer, Template(tag="apples")).tag_id == tokenizer.convert_tokens_to_ids("Ġapples")


def test_a_tag_that_merges_with_the_newline_is_refused(tiny: Any) -> None:
    tokenizer = tiny.make_tokenizer(tiny.SIGNS_TAKE_NEWLINES, extra=("so 3 ;\nStep", "so 3 ;"))
    with pytest.raises(ShepherdError, match="merges with the newline"):
        resolve(tokenizer, Template(tag=";"))


def test_a_tag_that_is_ordinary_text_is_refused(tiny: Any) -> None:
    with pytest.raises(ShepherdError, match="also occurs inside ordinary text"):
        resolve(tiny.make_tokenizer(extra=("so 3 =",)), Template(tag="="))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (Template(good="+", bad="+"), "are the same token"),
        (Template(good=TAG), "is the same token"),
        (Template(good="good"), r"template\.good=\+$"),
        (Template(bad="minus"), r"template\.bad=-$"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(
    tiny_tokenizer: Any, template: Template, said: str
) -> None:
    with pytest.raises(ShepherdError, match=said):
        resolve(tiny_tokenizer, template)


def test_an_unknown_tag_is_refused() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", "+", "-", "Step", "1"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    with pytest.raises(ShepherdError, match="not in the vocabulary"):
        resolve(tokenizer)


def test_a_tokenizer_that_encodes_to_nothing_is_refused() -> None:
    class Silent:
        """What `LlamaTokenizer(vocab_file=…)` of transformers 5 gives."""

        name_or_path = "silent"
        unk_token_id = None

        def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[] for _ in texts]}

    with pytest.raises(ShepherdError, match="encodes text to nothing"):
        resolve(Silent())  # type: ignore[arg-type]


def test_the_contract_survives_saving_and_refuses_another_tokenizer(tiny: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = tiny.make_tokenizer()
    contract = resolve(tokenizer)
    assert TagContract.from_json(json.loads(json.dumps(contract.to_json()))) == contract
    tokenizer.save_pretrained(tmp_path)
    check(contract, AutoTokenizer.from_pretrained(tmp_path), "here")
    # The same ids for tag and labels, but other merges: it must not pass.
    other = tiny.make_tokenizer(extra=("one two three", "four five six"))
    with pytest.raises(ShepherdError, match=r"^here: the tokenizer is not the one"):
        check(contract, other, "here")
    with pytest.raises(ShepherdError, match=r"^here: saved ids tag "):
        check(replace(contract, good_id=contract.good_id + 1), tokenizer, "here")


def test_the_fingerprint_sees_a_changed_merge(tiny: Any) -> None:
    assert fingerprint(tiny.make_tokenizer()) == fingerprint(tiny.make_tokenizer())
    assert fingerprint(tiny.make_tokenizer()) != fingerprint(tiny.make_tokenizer(vocab_size=300))


def test_the_input_is_math_shepherds() -> None:
    assert text_of("How? ", ["a", "Step 2: b"]) == f"How? Step 1: a {TAG}\nStep 2: b {TAG}"


_text = st.text(alphabet="ab ки+-1=.\n?Step:", max_size=40)


@given(_text, st.lists(_text.filter(lambda text: without_tag(text).strip()), max_size=5))
def test_there_are_always_as_many_tags_as_steps(tiny_tokenizer: Any, question: str, steps: list[str]) -> None:
    contract = resolve_once(tiny_tokenizer)
    (solution,) = encode(tiny_tokenizer, contract, [(question, steps)])
    assert len(solution.tags) == len(steps)
    assert (solution.ids[solution.tags] == contract.tag_id).all()
    text = text_of(question, steps)
    assert text.count(TAG) == len(steps)
    assert tiny_tokenizer.decode(solution.ids[1:]) == text
    # What stands before the k-th tag is what was written before it.
    for k, position in enumerate(solution.tags):
        before = tiny_tokenizer.decode(solution.ids[1 : position + 1])
        assert before.count(TAG) == k + 1
        assert before.endswith(TAG)


_contracts: dict[int, TagContract] = {}


def resolve_once(tokenizer: Any) -> TagContract:
    return _contracts.setdefault(id(tokenizer), resolve(tokenizer))
