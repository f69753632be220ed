"""What fine-tuning reads and is to predict: generate's prompt, then the solution and its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.config import PromptConfig
from generation.learn.order import make_order
from generation.learn.sft.rows import encode_row, encode_rows
from generation.learn.sft.solutions import solution_text
from generation.learn.tokens import IGNORED, order_digest
from generation.prompts import encode, make_prompt
from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier.model import load_tokenizer

ROW = StepRow("Tom has 3 apples and buys 4. How many?", ("3 + 4 = 7", "So 7. The answer is: 7"), (1.0, 1.0))
EXAMPLES = ({"question": "1 + 1?", "solution": "Step 1: 1 + 1 = 2 The answer is: 2"},)
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ '\n' }}{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ '\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("embedded:weak")


@pytest.fixture
def chat_tokenizer() -> Any:
    tokenizer = load_tokenizer("embedded:weak")
    tokenizer.chat_template = CHAT
    return tokenizer


def test_the_loss_stands_at_the_solution_and_its_end_alone(tokenizer: Any) -> None:
    made = encode_row(ROW, tokenizer, PromptConfig(), tags=False, name="weak")
    assert tokenizer.decode(made.ids[1 : made.start]) == ROW.question
    assert tokenizer.decode(made.ids[made.start : -1]) == " Step 1: 3 + 4 = 7\nStep 2: So 7. The answer is: 7"
    assert made.labels == [IGNORED] * made.start + list(made.ids[made.start :])
    assert made.ids[0] == tokenizer.bos_token_id
    assert made.ids[-1] == tokenizer.eos_token_id
    assert made.ids.count(tokenizer.bos_token_id) == made.ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize(
    "prompt",
    [
        PromptConfig(),
        PromptConfig(template="Question: {question}\nAnswer:"),
        PromptConfig(template="Question: {question}\nAnswer:\n"),
        PromptConfig(system="Think.", examples=EXAMPLES, separator="\n---\n"),
    ],
    ids=["bare", "template", "line", "few-shot"],
)
def test_it_begins_with_the_tokens_that_sampling_begins_with(tokenizer: Any, prompt: PromptConfig) -> None:
    made = encode_row(ROW, tokenizer, prompt, tags=True, name="weak")
    asked = make_prompt("p", ROW.question, prompt)
    assert list(made.ids[: made.start]) == encode(tokenizer, asked, "weak")
    whole = tokenizer.decode(made.ids[1:-1])
    assert whole.startswith(asked.text)
    assert whole.removeprefix(asked.text).strip() == solution_text(ROW, tags=True)


def test_a_chat_is_learnt_as_its_template_writes_it(chat_tokenizer: Any) -> None:
    prompt = PromptConfig(chat=True, system="Be exact.", examples=EXAMPLES)
    made = encode_row(ROW, chat_tokenizer, prompt, tags=False, name="weak")
    asked = make_prompt("p", ROW.question, prompt)
    assert list(made.ids[: made.start]) == encode(chat_tokenizer, asked, "weak")
    assert made.ids.count(chat_tokenizer.bos_token_id) == 1
    assert made.ids[made.start :].count(chat_tokenizer.eos_token_id) == 1
    assert made.ids[-1] == chat_tokenizer.eos_token_id
    assert chat_tokenizer.decode(made.ids[1 : made.start]) == (
        "<|system|>\nBe exact.</s><|user|>\n1 + 1?</s><|assistant|>\nStep 1: 1 + 1 = 2 The answer is: 2</s>"
        f"<|user|>\n{ROW.question}</s><|assistant|>\n"
    )
    assert chat_tokenizer.decode(made.ids[made.start : -1]) == solution_text(ROW, tags=False)


def test_a_template_that_writes_the_turn_otherwise_than_it_begins_it_is_refused(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = CHAT.replace("<|assistant|>{{ '\n' }}", "<|assistant|> think:")
    with pytest.raises(ShepherdError, match=r"merge into other tokens at their border.*prompt\.chat=false"):
        encode_row(ROW, chat_tokenizer, PromptConfig(chat=True), tags=False, name="weak")


def test_a_tokenizer_without_an_end_is_refused(tokenizer: Any) -> None:
    class Endless:
        eos_token_id = None

    with pytest.raises(ShepherdError, match="no end token"):
        encode_row(ROW, Endless(), PromptConfig(), tags=False, name="weak")


def test_a_row_that_is_too_long_is_left_out_and_counted(tokenizer: Any) -> None:
    long = StepRow(ROW.question, ROW.steps * 4, (1.0,) * 8)
    options = {"tags": False, "name": "weak"}
    length = len(encode_row(ROW, tokenizer, PromptConfig(), **options).ids)
    made = encode_rows([long, ROW], tokenizer, PromptConfig(), max_length=length, **options)
    assert [len(row.ids) for row in made.rows] == [length]
    assert made.counts()["too_long"] == 1
    assert made.counts()["solution_tokens"] == length - made.rows[0].start


def test_many_rows_show_how_far_their_encoding_is(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"tags": False, "name": "weak", "max_length": 512}
    encode_rows([ROW], tokenizer, PromptConfig(), **options)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("generation.learn.sft.rows._SHOWN_ROWS", 3)
    encode_rows([ROW] * 3, tokenizer, PromptConfig(), **options)
    assert "tokenising: 3/3 rows" in capsys.readouterr().err


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.sampled_from([0.5, 1.0, 2.0, 2.5]),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_the_order_takes_every_row_as_often_as_epochs_say(
    lengths: list[int], epochs: float, batch_size: int, seed: int
) -> None:
    order = make_order(np.array(lengths), epochs=epochs, batch_size=batch_size, seed=seed)
    assert len(order) == max(1, round(epochs * len(lengths)))
    counts = np.bincount(order, minlength=len(lengths))
    assert counts.max() - counts.min() <= 1
    again = make_order(np.array(lengths), epochs=epochs, batch_size=batch_size, seed=seed)
    assert order.tolist() == again.tolist()


def test_batches_hold_rows_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 2000)
    order = make_order(lengths, epochs=1, batch_size=16, seed=0)
    batches = lengths[order].reshape(-1, 16)
    assert (batches.max(1) * 16).sum() / lengths.sum() < 1.1
    assert np.corrcoef(np.arange(len(batches)), batches.mean(1))[0, 1] < 0.3  # not from short to long


def test_a_changed_row_or_order_is_another_plan(tokenizer: Any) -> None:
    rows = [encode_row(ROW, tokenizer, PromptConfig(), tags=tags, name="weak") for tags in (False, True)]
    seen = {order_digest(part, np.array(order)) for part in (rows, rows[::-1]) for order in ([0, 1], [1, 0])}
    assert len(seen) == 4
