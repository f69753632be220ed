"""Tokens of a corpus, made once for a tokenizer and kept beside its rows.

Every row is encoded whole: what is too long is cut later, by whoever trains, so that another `max_length`, or
another part of the rows, needs no new tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shepherd.columns import Kept, Writer, columns_of, find
from shepherd.console import progress
from shepherd.identity import model_label, versions
from shepherd.shelf import tell
from verifier.data.corpus import Corpus
from verifier.tags import EncodedSolution, TagContract, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECIPE = 1
"""To be raised when the same text would get other tokens: a change of template or encoding."""

_PIECE = 1024
_SHOWN_ROWS = 4096
"""Rows from which on the work shows its progress: fewer take a second."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of every row, whole, and the position of each step's tag in its row.

    Attributes:
        ids: of all rows, one after another; shape ``(tokens,)``.
        ends: where each row's ids end, after a leading 0; shape ``(rows + 1,)``.
        tags: of every step of the corpus; shape ``(steps,)``.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    tags: NDArray[np.int32]


def tokens_of(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, contract: TagContract, *, name: str = ""
) -> Tokens:
    """Encode a corpus, or find its tokens in the store; they are kept there if the corpus is.

    Args:
        corpus: rows; their id is part of the tokens' key.
        tokenizer: what encodes.
        contract: its tag closes the steps.
        name: the tokenizer's, for a human.
    """
    key = _key(corpus, tokenizer, contract)
    found = find("tokens", key)
    rows = f"{len(corpus):,} rows of {corpus.counts.source}"
    if found is not None:
        tell(f"{rows} and their tokens" if corpus.is_kept else f"tokens of {rows}")
        return _tokens(found)
    if corpus.is_kept:
        tell(rows)

    def fill(writer: Writer) -> dict[str, Any]:
        write_tokens(writer, corpus, tokenizer, contract)
        return {"questions_kept": len(corpus.questions), "rows_kept": len(corpus)}

    return _tokens(columns_of("tokens", key, model_label(name), fill))


def write_tokens(
    writer: Writer, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, contract: TagContract
) -> None:
    """Stream the tokens of a corpus into the columns of `Tokens`."""
    writer.add("ids", np.empty(0, np.int32))
    writer.add("ends", np.zeros(1, np.int64))
    writer.add("tags", np.empty(0, np.int32))
    end = 0
    solutions = _encoded(corpus, tokenizer, contract)
    while piece := list(islice(solutions, _PIECE)):
        lengths = np.array([len(each.ids) for each in piece], np.int64)
        writer.add("ids", np.concatenate([each.ids for each in piece]))
        writer.add("ends", end + np.cumsum(lengths))
        writer.add("tags", np.concatenate([each.tags for each in piece]))
        end += int(lengths.sum())


def _encoded(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, contract: TagContract
) -> Iterator[EncodedSolution]:
    """Every row's tokens; of the texts only one piece is in memory."""
    is_long = len(corpus) >= _SHOWN_ROWS
    with progress("tokenising", len(corpus), "rows") if is_long else nullcontext() as bar:
        for start in range(0, len(corpus), _PIECE):
            rows = [corpus.row(index) for index in range(start, min(start + _PIECE, len(corpus)))]
            yield from encode(tokenizer, contract, [(row.question, row.steps) for row in rows])
            if bar is not None:
                bar.advance(len(rows))


def _key(corpus: Corpus, tokenizer: Any, contract: TagContract) -> dict[str, Any] | None:
    """All that decides the tokens; None where not all of it is known."""
    identity = tokenizer_identity(tokenizer)
    if corpus.id is None or identity is None:
        return None
    tag = {"text": contract.template.tag, "id": contract.tag_id}
    return {"recipe": RECIPE, "rows": corpus.id, "tokenizer": identity, "tag": tag}


def tokenizer_identity(tokenizer: Any) -> dict[str, Any] | None:
    """All that decides what a tokenizer makes of a text; None where nobody can tell.

    A contract's fingerprint is a sample of it, enough to notice another tokenizer; what is kept for years is
    known by the whole: vocabulary, merges, normalisation. Of a tokenizer without the fast library's
    description, or with code of its own, the whole is not to be had.
    """
    if not tokenizer.is_fast or not type(tokenizer).__module__.startswith("transformers."):
        return None
    return {
        "class": type(tokenizer).__name__,
        "sha256": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        "bos": tokenizer.bos_token_id,
        "split_special_tokens": bool(tokenizer.split_special_tokens),
        "versions": versions(("tokenizers", "transformers")),
    }


def _tokens(kept: Kept) -> Tokens:
    return Tokens(kept.columns["ids"], kept.columns["ends"], kept.columns["tags"])
