"""The embedded tokenizer has what makes real vocabularies dangerous, and reads any text back exactly."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from generation.embedded.tokenizer import VOCABULARY_SIZE, train_tokenizer
from generation.embedded.world import stream_problems
from shepherd import steps as step_text


def world_texts(count: int) -> list[str]:
    return [
        step_text.prompt(problem.problem.question) + problem.solution_text
        for problem in itertools.islice(stream_problems("train", 1), count)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(world_texts(3000))


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [tokenizer.decode([one]) for one in ids]


def test_digits_are_single_and_signs_differ_by_their_space(tokenizer: PreTrainedTokenizerFast) -> None:
    assert pieces(tokenizer, "12 + 345 ки") == ["1", "2", " +", " 3", "4", "5", " ки"]
    for spaced, bare in ((" +", "+"), (" -", "-"), (" ки", "ки")):
        assert pieces(tokenizer, spaced) == [spaced] and pieces(tokenizer, bare) == [bare]
    assert len(tokenizer) <= VOCABULARY_SIZE


def test_one_text_is_one_bos_and_its_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("How many?")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids


def test_a_row_has_as_many_tags_as_steps(tokenizer: PreTrainedTokenizerFast) -> None:
    (tag,) = tokenizer(" ки", add_special_tokens=False)["input_ids"]
    for text in world_texts(200):
        assert tokenizer(text)["input_ids"].count(tag) == len(step_text.split(text).steps)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_decodes_exactly(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
