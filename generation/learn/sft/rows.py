"""Rows of fine-tuning as tokens: the prompt as it is sampled, the solution, the end.

The prompt's tokens are exactly those `shepherd generate` begins with, so that sampling continues what was
learnt. The loss stands at the solution and its end token alone.

Left out on purpose: tokens kept in the store, as `shepherd train-prm` keeps them. Those are of many more
rows; here encoding is a very small part of what a run takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.config import PromptConfig
from generation.learn.sft.solutions import solution_text
from generation.learn.tokens import TokenRow
from generation.prompts import blank_after, encode, make_prompt, render_chat
from shepherd.console import progress
from shepherd.errors import ShepherdError
from shepherd.records import StepRow

_SHOWN_ROWS = 4096
"""Rows from which on the work shows its progress: fewer take two seconds."""


def encode_row(row: StepRow, tokenizer: Any, prompt: PromptConfig, *, tags: bool, name: str) -> TokenRow:
    """Encode one solved problem.

    Args:
        row: question and right steps.
        tokenizer: of the model that is trained.
        prompt: how a question becomes a prompt.
        tags: whether each step is closed by the tag.
        name: the model, as errors name it.

    Raises:
        ShepherdError: where prompt and solution merge, so that no sampling could begin with these tokens.
    """
    if tokenizer.eos_token_id is None:
        raise ShepherdError(f"model {name}: its tokenizer has no end token to learn; set eos_token there")
    asked = make_prompt("", row.question, prompt)
    begin = encode(tokenizer, asked, name)
    solution = solution_text(row, tags=tags)
    if asked.chat:
        text = render_chat(tokenizer, asked, name, solution)
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        whole = tokenizer(asked.text + blank_after(asked.text) + solution)["input_ids"]
    if whole[: len(begin)] != begin:
        raise ShepherdError(
            f"model {name}: prompt and solution merge into other tokens at their border (question "
            f"{row.question[:60]!r}); end prompt.template in another character"
            + (", or set prompt.chat=false" if asked.chat else "")
        )
    learnt = list(whole[len(begin) :])
    if tokenizer.eos_token_id in learnt:  # a chat template closes the turn itself
        learnt = learnt[: learnt.index(tokenizer.eos_token_id)]
    return TokenRow((*begin, *learnt, tokenizer.eos_token_id), len(begin))


@dataclass(frozen=True, slots=True)
class EncodedSolutions:
    """Rows that fit, and how many were too long."""

    rows: list[TokenRow]
    too_long: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens a row."""
        return np.array([len(row.ids) for row in self.rows], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """For logs and results."""
        learnt = sum(len(row.ids) - row.start for row in self.rows)
        return {
            "rows": len(self.rows),
            "tokens": int(self.lengths.sum()),
            "solution_tokens": learnt,
            "too_long": self.too_long,
        }


def encode_rows(
    rows: Sequence[StepRow], tokenizer: Any, prompt: PromptConfig, *, tags: bool, name: str, max_length: int
) -> EncodedSolutions:
    """Encode rows; one of more than `max_length` tokens is left out: cut, it would never learn to end."""
    encoded = []
    with progress("tokenising", len(rows), "rows") if len(rows) >= _SHOWN_ROWS else nullcontext() as bar:
        for row in rows:
            encoded.append(encode_row(row, tokenizer, prompt, tags=tags, name=name))
            if bar is not None:
                bar.advance()
    fitting = [row for row in encoded if len(row.ids) <= max_length]
    return EncodedSolutions(fitting, len(encoded) - len(fitting))
