"""Between texts and tokens, the same for every engine that has the tokenizer at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shepherd.errors import ShepherdError


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
