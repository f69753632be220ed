"""Pairs as tokens: the prompt as it is sampled from, then what the generator wrote, then its end.

Prompt and side are tokenised together, and the prompt's tokens must be those that sampling begins with: what
is learnt is then what is sampled. A side of a chat is not put through the chat template again, which may trim
it: it follows the template's opening of the assistant's turn as it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.learn.tokens import TokenRow
from generation.pairs.pair import Pair, PromptText, Side
from generation.prompts import render_turns
from shepherd.errors import ShepherdError

_MOST_MERGED = 0.05
"""Of the pairs: a rare text runs into its prompt, a template of the wrong shape makes all of them do it."""


@dataclass(frozen=True, slots=True)
class PairRow:
    """Tokens of a pair; the sides with their end tokens, where they end."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def chosen_row(self) -> TokenRow:
        """Prompt and chosen side."""
        return TokenRow(self.prompt + self.chosen, len(self.prompt))

    @property
    def rejected_row(self) -> TokenRow:
        """Prompt and rejected side."""
        return TokenRow(self.prompt + self.rejected, len(self.prompt))

    @property
    def length(self) -> int:
        """Tokens of prompt and longer side."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def tokens(self) -> int:
        """Tokens of both rows, without padding."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Pairs that can be learnt from, and how many cannot.

    Attributes:
        rows: as tokens.
        kept: which of the given pairs each row is.
        too_long: pairs of more tokens than allowed.
        merged: pairs of which a side and the prompt make other tokens together.
        end_inside: pairs of which a side spells the end token before its end.
    """

    rows: list[PairRow]
    kept: list[int]
    too_long: int
    merged: int
    end_inside: int

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of prompt and longer side, a row."""
        return np.array([row.length for row in self.rows], dtype=np.int64)

    def counts(self) -> dict[str, int]:
        """For logs and results."""
        return {
            "pairs": len(self.rows),
            "tokens": sum(row.tokens for row in self.rows),
            "too_long": self.too_long,
            "merged": self.merged,
            "end_inside": self.end_inside,
        }


class MergedError(ShepherdError):
    """Prompt and side make other tokens together, so that no sampling could begin with these."""


def encode_side(prompt: PromptText, side: Side, tokenizer: Any, name: str) -> TokenRow:
    """Encode a prompt and what follows it.

    Args:
        prompt: a text, or the turns of a chat; a last turn of the assistant's is gone on with.
        side: its text, and whether the end token follows.
        tokenizer: of the model that is trained.
        name: the model, as errors name it.

    Raises:
        MergedError: where prompt and side merge at their border.
        ShepherdError: where the tokenizer has no end token or no chat template.
    """
    text, added = _opening(prompt, tokenizer, name)
    begin = tokenizer(text, add_special_tokens=added)["input_ids"]
    whole = tokenizer(text + side.text, add_special_tokens=added)["input_ids"]
    if not begin or whole[: len(begin)] != begin:
        raise MergedError(
            f"model {name}: prompt and solution merge into other tokens at their border ({text[-30:]!r} and "
            f"{side.text[:30]!r}); end prompt.template in another character"
        )
    if not side.ends:
        return TokenRow(tuple(whole), len(begin))
    if tokenizer.eos_token_id is None:
        raise ShepherdError(f"model {name}: its tokenizer has no end token to learn; set eos_token there")
    return TokenRow((*whole, tokenizer.eos_token_id), len(begin))


def encode_pair(pair: Pair, tokenizer: Any, name: str) -> PairRow:
    """Encode both sides of a pair; errors as of `encode_side`."""
    chosen, rejected = (
        encode_side(pair.prompt, side, tokenizer, name) for side in (pair.chosen, pair.rejected)
    )
    start = chosen.start
    return PairRow(chosen.ids[:start], chosen.ids[start:], rejected.ids[start:])


def encode_pairs(pairs: Sequence[Pair], tokenizer: Any, *, name: str, max_length: int) -> EncodedPairs:
    """Encode pairs; what cannot be learnt from is left out and counted, nothing is cut.

    Raises:
        ShepherdError: where more than 5% of the pairs merge with their prompts, or none is left.
    """
    rows: list[PairRow] = []
    kept: list[int] = []
    too_long = end_inside = 0
    merged: list[MergedError] = []
    for index, pair in enumerate(pairs):
        try:
            row = encode_pair(pair, tokenizer, name)
        except MergedError as error:
            merged.append(error)
            continue
        if row.length > max_length:
            too_long += 1
        elif any(tokenizer.eos_token_id in side[:-1] for side in (row.chosen, row.rejected)):
            end_inside += 1
        else:
            rows.append(row)
            kept.append(index)
    if len(merged) > _MOST_MERGED * len(pairs):
        raise ShepherdError(f"{len(merged)} of {len(pairs)} pairs: {merged[0]}")
    encoded = EncodedPairs(rows, kept, too_long, len(merged), end_inside)
    if not rows:
        counts = encoded.counts()
        left_out = ", ".join(f"{key} {counts[key]:,}" for key in ("too_long", "merged", "end_inside"))
        raise ShepherdError(
            f"no pair is left of {len(pairs):,} ({left_out}); raise max_length (now {max_length})"
            if pairs
            else "no pair to learn from"
        )
    return encoded


def _opening(prompt: PromptText, tokenizer: Any, name: str) -> tuple[str, bool]:
    """What a side follows, and whether the tokenizer adds its BOS (a template writes it itself)."""
    if isinstance(prompt, str):
        return prompt, True
    turns = [{"role": role, "content": text} for role, text in prompt]
    begun = turns.pop()["content"] if turns and turns[-1]["role"] == "assistant" else ""
    return render_turns(tokenizer, turns, name) + begun, False
