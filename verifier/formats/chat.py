"""What the formats that speak in chat turns share: rendered turns that no text can break out of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shepherd.errors import ShepherdError


class Turns:
    """A tokenizer's chat template, and the texts that mean something to it.

    Special tokens frame the turns. One that stands in a question or a step would end the turn, or add a
    verdict of its own making, so special tokens and `marks` are removed from what is put into a turn.

    Args:
        tokenizer: must have a chat template.
        name: of the format, for errors.
        marks: further texts that only the format itself may write.
    """

    def __init__(self, tokenizer: Any, name: str, marks: Sequence[str] = ()) -> None:
        if not tokenizer.chat_template:
            raise ShepherdError(
                f"format {name}: the tokenizer has no chat template; copy the checkpoint's "
                "tokenizer_config.json (and chat_template.jinja) beside its weights"
            )
        if not tokenizer.is_fast:
            raise ShepherdError(f"format {name}: needs a tokenizer with character positions (tokenizer.json)")
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.values()
        texts = {*tokenizer.all_special_tokens, *(each.content for each in added if each.special), *marks}
        # Longest first: of two that begin alike, the whole of the longer one goes.
        longest_first = sorted(texts - {""}, key=lambda text: (-len(text), text))
        self._reserved = re.compile("|".join(map(re.escape, longest_first)))

    def plain(self, text: str) -> str:
        """`text` with nothing in it that the template or the format would read as its own."""
        while self._reserved.search(text):  # taking one out can bring the halves of another together
            text = self._reserved.sub("", text)
        return text

    def render(self, turns: Sequence[tuple[str, str]]) -> str:
        """The conversation of (role, content) turns as text, special tokens and all."""
        messages = [{"role": role, "content": content} for role, content in turns]
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False)
        return text

    def tokenize(self, texts: Sequence[str]) -> Any:
        """Token ids and character positions; the rendered text brings its own special tokens."""
        return self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
