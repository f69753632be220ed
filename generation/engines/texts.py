"""Between texts and tokens, the same for every engine that has the tokenizer at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from generation.engines import Prompt
from shepherd.errors import ShepherdError


def encode(tokenizer: Any, prompt: Prompt, name: str) -> list[int]:
    """Token ids of a prompt, as the tokenizer begins a text, or a turn.

    Args:
        tokenizer: The model's tokenizer; its own BOS rule and chat template apply.
        prompt: The prompt.
        name: The model, as errors name it.

    Raises:
        ShepherdError: for an empty prompt, and for a chat without a template.
    """
    if not prompt.chat:
        ids = tokenizer(prompt.text)["input_ids"]
    elif getattr(tokenizer, "chat_template", None) is None:
        raise ShepherdError(f"model {name}: the tokenizer has no chat template; set prompt.chat=false")
    else:
        ids = tokenizer.apply_chat_template(prompt.messages(), add_generation_prompt=True, return_dict=False)
    if not ids:
        raise ShepherdError(f"problem {prompt.key}: the prompt is empty; a question is needed")
    return list(ids)


def decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts of rows of token ids, exactly as the tokens spell them."""
    texts: list[str] = tokenizer.batch_decode(
        rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return texts


def cut(text: str, stop: Sequence[str]) -> str:
    r"""The text before the first stop text.

    Example:
        >>> cut("Step 1: 7.\n\nQuestion: and", ("\n\n", "Question:"))
        'Step 1: 7.'
    """
    ends = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(ends)] if ends else text


def end_tokens(tokenizer: Any, generation_config: Any, name: str) -> list[int]:
    """Ids of the tokens that end a solution: the tokenizer's own, and those of the generation config.

    Raises:
        ShepherdError: if there is none.
    """
    of_model = generation_config.eos_token_id if generation_config is not None else None
    ends = {tokenizer.eos_token_id, *(of_model if isinstance(of_model, list) else [of_model])} - {None}
    if not ends:
        raise ShepherdError(
            f"{name}: neither model nor tokenizer has an end-of-sequence token; set eos_token"
        )
    return sorted(ends)
