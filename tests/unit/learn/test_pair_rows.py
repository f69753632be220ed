"""Pairs as tokens: the prompt that sampling begins with, the sides as they were written, their ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.config import PromptConfig
from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.plan import make_plan
from generation.learn.dpo.rows import encode_pair, encode_pairs, encode_side
from generation.pairs.pair import Pair, Side
from generation.prompts import encode, make_prompt
from shepherd.errors import ShepherdError
from verifier.model import load_tokenizer

QUESTION = "Tom has 3 apples and buys 4. How many?"
RIGHT, WRONG = " Step 1: 3 + 4 = 7 ки\nThe answer is: 7 ки", " Step 1: 3 + 4 = 8 ки"
PAIR = Pair(QUESTION, Side(RIGHT), Side(WRONG, ends=False))
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ '\n' }}{{ m['content'] | trim }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ '\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("embedded:weak")


@pytest.fixture(scope="module")
def chat_tokenizer() -> Any:
    tokenizer = load_tokenizer("embedded:weak")
    tokenizer.chat_template = CHAT
    return tokenizer


def test_prompt_side_and_end(tokenizer: Any) -> None:
    row = encode_pair(PAIR, tokenizer, "weak")
    asked = make_prompt("p", QUESTION, PromptConfig())
    assert list(row.prompt) == encode(tokenizer, asked, "weak")
    assert tokenizer.decode(row.chosen[:-1]) == RIGHT
    assert row.chosen[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.rejected) == WRONG  # it was cut: no end is learnt
    assert row.length == len(row.prompt) + len(row.chosen)
    assert row.tokens == len(row.chosen_row.ids) + len(row.rejected_row.ids)
    assert row.chosen_row.start == row.rejected_row.start == len(row.prompt)


def test_a_side_of_a_chat_is_learnt_as_it_was_written(chat_tokenizer: Any) -> None:
    prompt = PromptConfig(chat=True, system="Be exact.", examples=[{"question": "1?", "solution": "1."}])
    asked = make_prompt("p", QUESTION, prompt)
    turns = tuple((turn["role"], turn["content"]) for turn in asked.messages())
    row = encode_side(turns, Side("  Step 1: 7 "), chat_tokenizer, "weak")  # the template would trim it
    assert list(row.ids[: row.start]) == encode(chat_tokenizer, asked, "weak")
    assert chat_tokenizer.decode(row.ids[row.start : -1]) == "  Step 1: 7 "
    assert row.ids[-1] == chat_tokenizer.eos_token_id


def test_a_last_turn_of_the_assistants_is_gone_on_with(chat_tokenizer: Any) -> None:
    begun = "Step 1: 3 + 4 = 7 ки\n"
    whole = encode_side((("user", QUESTION),), Side(begun + "Step 2: so 7 ки"), chat_tokenizer, "weak")
    row = encode_side(
        (("user", QUESTION), ("assistant", begun)), Side("Step 2: so 7 ки"), chat_tokenizer, "weak"
    )
    assert row.ids == whole.ids
    assert row.start > whole.start
    assert chat_tokenizer.decode(row.ids[row.start : -1]) == "Step 2: so 7 ки"


def test_a_chat_without_a_template_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ShepherdError, match="no chat template"):
        encode_side((("user", QUESTION),), Side(RIGHT), tokenizer, "weak")


def test_a_border_that_merges_is_refused_with_both_its_sides(tokenizer: Any) -> None:
    merging = Pair("How man", Side("y apples?"), Side(" apples?"))
    with pytest.raises(
        ShepherdError, match=r"merge into other tokens at their border \('How man' and 'y app"
    ):
        encode_pair(merging, tokenizer, "weak")
    with pytest.raises(ShepherdError, match="1 of 2 pairs: model weak: prompt and solution merge"):
        encode_pairs([PAIR, merging], tokenizer, name="weak", max_length=512)


def test_a_rare_text_that_merges_is_left_out_and_counted(tokenizer: Any) -> None:
    merging = Pair("How man", Side("y apples?"), Side(" apples?"))
    made = encode_pairs([merging, *[PAIR] * 20], tokenizer, name="weak", max_length=512)
    assert made.kept == list(range(1, 21))
    assert made.counts()["merged"] == 1


def test_a_pair_with_a_longer_side_is_left_out_never_cut(tokenizer: Any) -> None:
    long = Pair(QUESTION, Side(RIGHT), Side(WRONG * 5))
    length = encode_pair(PAIR, tokenizer, "weak").length
    made = encode_pairs([long, PAIR], tokenizer, name="weak", max_length=length)
    assert made.kept == [1]
    assert made.counts()["too_long"] == 1
    assert made.lengths.tolist() == [length]
    with pytest.raises(
        ShepherdError, match=r"no pair is left of 1 \(too_long 1, .*raise max_length \(now 8\)"
    ):
        encode_pairs([PAIR], tokenizer, name="weak", max_length=8)
    with pytest.raises(ShepherdError, match="no pair to learn from"):
        encode_pairs([], tokenizer, name="weak", max_length=8)


@pytest.mark.parametrize("text", ["\x00\x1b[31m \ud7ff", "<script>alert(1)</script>", " " * 300, "😀" * 20])
def test_hostile_texts_are_tokens_like_any(tokenizer: Any, text: str) -> None:
    row = encode_pair(Pair(QUESTION, Side(" " + text), Side(WRONG)), tokenizer, "weak")
    assert row.prompt == encode_pair(PAIR, tokenizer, "weak").prompt


def test_a_side_that_spells_the_end_token_is_left_out(tokenizer: Any) -> None:
    spelt = Pair(QUESTION, Side(RIGHT), Side(" Step 1: 7</s> and on"))
    made = encode_pairs([spelt, PAIR], tokenizer, name="weak", max_length=512)
    assert made.kept == [1]
    assert made.counts()["end_inside"] == 1


def test_a_tokenizer_without_an_end_is_refused_where_one_is_to_be_learnt(tokenizer: Any) -> None:
    class Endless:
        eos_token_id = None

        def __call__(self, text: str, **options: Any) -> Any:
            return tokenizer(text, **options)

    with pytest.raises(ShepherdError, match="no end token"):
        encode_side(QUESTION, Side(RIGHT), Endless(), "weak")
    assert encode_side(QUESTION, Side(RIGHT, ends=False), Endless(), "weak").start


def _plan(tokenizer: Any, pairs: list[Pair], weights: list[float], **options: Any) -> Any:
    given = {"name": "embedded:weak", "start": None, "reference": None, "seed": 0}
    config = DpoConfig(**{"batch_size": 2, **options.pop("config", {})})
    return make_plan(pairs, weights, config, tokenizer, **{**given, **options})


def test_a_plan_takes_pairs_as_often_as_their_weights_say(tokenizer: Any) -> None:
    long = Pair(QUESTION, Side(RIGHT * 30), Side(WRONG))
    other = Pair(QUESTION, Side(WRONG), Side(RIGHT))
    plan = _plan(tokenizer, [PAIR, long, other], [1.0, 9.0, 3.0], config={"max_length": 100})
    assert plan.encoded.kept == [0, 2]
    assert np.bincount(plan.order).tolist() == [1, 3]
    assert plan.steps == 2
    assert sum(plan.tokens) == sum(plan.encoded.rows[index].tokens for index in plan.order)


def test_a_plan_of_so_many_steps_has_them_however_few_the_pairs(tokenizer: Any) -> None:
    plan = _plan(tokenizer, [PAIR], [1.0], config={"steps": 7, "accumulation": 3})
    assert plan.steps == 7
    assert len(plan.order) == 7 * 2 * 3
    assert plan.checkpoint_every == 1


def test_every_change_of_what_decides_is_another_plan(tokenizer: Any) -> None:
    pairs, weights = [PAIR, Pair(QUESTION, Side(WRONG), Side(RIGHT))], [1.0, 1.0]
    plans = [
        _plan(tokenizer, pairs, weights),
        _plan(tokenizer, pairs[::-1], weights),
        _plan(tokenizer, pairs[:1], weights[:1]),
        _plan(tokenizer, pairs, [1.0, 2.0]),
        _plan(tokenizer, [PAIR, Pair(QUESTION, Side(WRONG), PAIR.rejected)], weights),
        _plan(tokenizer, pairs, weights, seed=1),
        _plan(tokenizer, pairs, weights, name="embedded:strong"),
    ]
    assert len({plan.digest for plan in plans}) == len(plans)
    assert _plan(tokenizer, pairs, weights).digest == plans[0].digest


def test_weights_that_are_none_are_one_line(tokenizer: Any) -> None:
    with pytest.raises(ShepherdError, match=r"the weights of 1 pairs must be finite.*found 0 to 0"):
        _plan(tokenizer, [PAIR], [0.0])
    with pytest.raises(ValueError, match="1 pairs and 2 weights"):
        _plan(tokenizer, [PAIR], [1.0, 1.0])


def test_an_adapter_that_is_not_there_is_one_line(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ShepherdError, match="no adapter_config"):
        _plan(tokenizer, [PAIR], [1.0], reference=tmp_path)


def test_smoothing_is_for_the_loss_that_knows_it() -> None:
    assert DpoConfig(loss="robust", label_smoothing=0.1).label_smoothing == 0.1
    with pytest.raises(ValueError, match="label_smoothing is for loss: robust"):
        DpoConfig(label_smoothing=0.1)
