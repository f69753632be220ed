"""Questions as prompts, and prompts as tokens: the one place, for sampling and for training alike.

A chat is turns: system, then a user and an assistant turn an example, then the question. What is no chat is
one text: system, examples (the filled template and the solution) and the filled template, with the separator
between them. Either ends where the solution begins; the blank between question and solution is the
solution's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from generation.config import PromptConfig
from generation.engines.protocol import Prompt
from shepherd.errors import ShepherdError
from shepherd.records import Problem


def prompts_of(problems: Sequence[Problem], config: PromptConfig) -> list[Prompt]:
    """Prompts of problems, named by their ids."""
    return [make_prompt(each.id, each.question, config) for each in problems]


def make_prompt(key: str, question: str, config: PromptConfig) -> Prompt:
    r"""The prompt of one question.

    Example:
        >>> example = {"question": "1 + 1?", "solution": "Step 1: 1 + 1 = 2."}
        >>> config = PromptConfig(template="Q: {question}\nA:", system="Add.", examples=[example])
        >>> make_prompt("p1", " 2 + 3? ", config).text
        'Add.\n\nQ: 1 + 1?\nA: Step 1: 1 + 1 = 2.\n\nQ: 2 + 3?\nA:'
    """
    asked = _fill(config, question)
    shots = [(_fill(config, each.question), each.solution.strip()) for each in config.examples]
    if config.chat:
        return Prompt(key, asked, chat=True, system=config.system.strip(), examples=tuple(shots))
    parts = [config.system.strip()] if config.system.strip() else []
    parts += [text + blank_after(text) + solution for text, solution in shots]
    return Prompt(key, config.separator.join([*parts, asked]))


def blank_after(prompt: str) -> str:
    r"""What stands between a prompt that is no chat and its solution: a blank, unless a line has ended.

    Example:
        >>> blank_after("How many?"), blank_after("Answer:\n")
        (' ', '')
    """
    return "" if prompt[-1:].isspace() else " "


def encode(tokenizer: Any, prompt: Prompt, name: str) -> list[int]:
    """Token ids of a prompt, as the tokenizer begins a text, or a turn.

    Args:
        tokenizer: The model's tokenizer; its own BOS rule and chat template apply.
        prompt: The prompt.
        name: The model, as errors name it.

    Raises:
        ShepherdError: for an empty prompt, for a chat without a template, and for a template that does not
            take a system turn.
    """
    if prompt.chat:
        text = render_chat(tokenizer, prompt, name)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # the template writes the BOS itself
    else:
        ids = tokenizer(prompt.text)["input_ids"]
    if not ids:
        raise ShepherdError(f"problem {prompt.key}: the prompt is empty; a question is needed")
    return list(ids)


def render_chat(tokenizer: Any, prompt: Prompt, name: str, solution: str | None = None) -> str:
    """The text of a chat: up to where the solution begins, or with the solution as the assistant's turn."""
    turns = prompt.messages()
    if solution is not None:
        turns.append({"role": "assistant", "content": solution})
    return render_turns(tokenizer, turns, name, opened=solution is None)


def render_turns(
    tokenizer: Any, turns: Sequence[Mapping[str, str]], name: str, *, opened: bool = True
) -> str:
    """The text that the tokenizer's chat template makes of turns.

    Args:
        tokenizer: the model's.
        turns: ``role`` and ``content`` each.
        name: the model, as errors name it.
        opened: end where the assistant's turn begins.

    Raises:
        ShepherdError: where there is no template, or it does not take these turns.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        raise ShepherdError(f"model {name}: the tokenizer has no chat template; set prompt.chat=false")
    from jinja2 import TemplateError

    system = next((turn["content"] for turn in turns if turn["role"] == "system"), "")
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=opened
        )
    except TemplateError as error:
        raise ShepherdError(f"model {name}: {_refusal(system, error)}") from error
    if system not in text:
        raise ShepherdError(f"model {name}: its chat template drops the system turn; {_NO_SYSTEM}")
    return text


_NO_SYSTEM = (
    'set prompt.system to "" and put its text into prompt.template, as in '
    'prompt.template="Think step by step.\\n\\n{question}"'
)


def _refusal(system: str, error: Exception) -> str:
    """Why a chat template raised, and what to do."""
    said = str(error).strip().partition("\n")[0][:200]
    if system:
        return f"its chat template refuses the system turn ({said}); {_NO_SYSTEM}"
    return f"its chat template refuses these turns ({said}); set prompt.chat=false, or prompt.examples=[]"


def _fill(config: PromptConfig, question: str) -> str:
    return config.template.replace("{question}", question.strip())
