"""Questions as prompts: plain and chat, with system and examples; and chat templates of every temper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from generation.config import GenerateConfig, PromptConfig
from generation.engines import Prompt
from generation.prompts import encode, make_prompt, prompts_of
from shepherd.errors import ShepherdError
from shepherd.records import Problem
from verifier.model import load_tokenizer

EXAMPLES = (
    {"question": " 1 + 1? ", "solution": "Step 1: 1 + 1 = 2. The answer is: 2\n"},
    {"question": "2 + 2?", "solution": "Step 1: 2 + 2 = 4. The answer is: 4"},
)
# Llama-3-Instruct's own template (meta-llama/Meta-Llama-3-8B-Instruct)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Mistral-7B-Instruct-v0.1's: no system role, turns must alternate
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
DROPS = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}\n{% endfor %}"


@pytest.fixture
def tokenizer() -> Any:
    return load_tokenizer("embedded:weak")


def test_a_plain_prompt_is_system_examples_and_question() -> None:
    config = PromptConfig(template="Question: {question}\nAnswer:", system="Add. ", examples=EXAMPLES)
    problems = [Problem("a", "3 + 3?", "6", ""), Problem("b", "{question} + 1?", None, "")]
    made = prompts_of(problems, config)
    before = (
        "Add.\n\nQuestion: 1 + 1?\nAnswer: Step 1: 1 + 1 = 2. The answer is: 2\n\n"
        "Question: 2 + 2?\nAnswer: Step 1: 2 + 2 = 4. The answer is: 4\n\n"
    )
    assert made == [
        Prompt("a", before + "Question: 3 + 3?\nAnswer:"),
        Prompt("b", before + "Question: {question} + 1?\nAnswer:"),
    ]
    shorter = config.model_copy(update={"separator": "\n", "system": "", "examples": config.examples[1:]})
    assert make_prompt("a", "3 + 3?", shorter).text == (
        "Question: 2 + 2?\nAnswer: Step 1: 2 + 2 = 4. The answer is: 4\nQuestion: 3 + 3?\nAnswer:"
    )


def test_a_chat_has_a_turn_each() -> None:
    config = PromptConfig(template="Solve: {question}", chat=True, system="Be brief.", examples=EXAMPLES[:1])
    assert make_prompt("a", "3 + 3?", config).messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Solve: 1 + 1?"},
        {"role": "assistant", "content": "Step 1: 1 + 1 = 2. The answer is: 2"},
        {"role": "user", "content": "Solve: 3 + 3?"},
    ]


def test_a_chat_template_that_writes_the_bos_does_not_double_it(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA3
    prompt = make_prompt("a", "3 + 3?", PromptConfig(chat=True, system="Be brief.", examples=EXAMPLES[:1]))
    ids = encode(tokenizer, prompt, "tiny")
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n1 + 1?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nStep 1: 1 + 1 = 2. The answer is: 2<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n3 + 3?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    own = tokenizer.apply_chat_template(prompt.messages(), add_generation_prompt=True, return_dict=False)
    assert ids == own


def test_a_plain_prompt_has_one_bos(tokenizer: Any) -> None:
    ids = encode(tokenizer, make_prompt("a", "3 + 3?", PromptConfig()), "tiny")
    assert ids == tokenizer("3 + 3?")["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(
    ("template", "system", "said"),
    [
        (None, "", "model tiny: the tokenizer has no chat template; set prompt.chat=false"),
        (
            MISTRAL,
            "Be brief.",
            "model tiny: its chat template refuses the system turn (Conversation roles must",
        ),
        (DROPS, "Be brief.", "model tiny: its chat template drops the system turn; set prompt.system to"),
        ("{{ raise_exception('no') }}", "", "model tiny: its chat template refuses these turns (no); set "),
    ],
)
def test_a_template_that_cannot_do_it_says_what_to_do(
    tokenizer: Any, template: str | None, system: str, said: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ShepherdError) as refused:
        encode(tokenizer, make_prompt("a", "3 + 3?", PromptConfig(chat=True, system=system)), "tiny")
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_the_way_out_of_a_refused_system_turn_works(tokenizer: Any) -> None:
    tokenizer.chat_template = MISTRAL
    config = PromptConfig(chat=True, template="Be brief.\n\n{question}", examples=EXAMPLES[:1])
    assert tokenizer.decode(encode(tokenizer, make_prompt("a", "3 + 3?", config), "tiny")) == (
        "<s>[INST] Be brief.\n\n1 + 1? [/INST]Step 1: 1 + 1 = 2. The answer is: 2</s> "
        "[INST] Be brief.\n\n3 + 3? [/INST]"
    )


def test_an_empty_prompt_is_refused() -> None:
    class Silent:
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": []}

    with pytest.raises(ShepherdError, match="problem a: the prompt is empty"):
        encode(Silent(), Prompt("a", ""), "tiny")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"template": "{question} "}, "a blank ends it"),
        ({"template": "Q:"}, "must stand in it"),
        ({"separator": ""}, "at least 1 character"),
        ({"examples": [{"question": "a"}]}, "Field required"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PromptConfig(**values)


def test_examples_need_a_stop_where_it_is_no_chat() -> None:
    prompt = {"examples": EXAMPLES}
    with pytest.raises(ValidationError, match=r"sampling\.stop: after examples a model goes on"):
        GenerateConfig(prompt=prompt)
    GenerateConfig(prompt=prompt, sampling={"stop": ["\n\n"]})
    GenerateConfig(prompt={**prompt, "chat": True})


def test_few_shots_in_yaml(tmp_path: Path) -> None:
    from shepherd.config import dump_yaml, load_config

    path = tmp_path / "few.yaml"
    path.write_text(
        "prompt:\n  template: 'Q: {question}'\n  system: Add.\n  examples:\n"
        "    - question: 1 + 1?\n      solution: 'Step 1: 2'\n  separator: \"\\n---\\n\"\n"
        "sampling:\n  stop: ['---']\n"
    )
    config = load_config(GenerateConfig, "generate", str(path))
    assert make_prompt("a", "2?", config.prompt).text == "Add.\n---\nQ: 1 + 1? Step 1: 2\n---\nQ: 2?"
    path.write_text(dump_yaml(config))
    assert load_config(GenerateConfig, "generate", str(path)) == config
