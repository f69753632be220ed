r"""The tag contract: which token ids mean tag, good and bad for the tokenizer at hand.

`+` and ` +`, `ки` and ` ки` differ between vocabularies and between library versions, and a wrong id silently
ruins every score. So the ids are found by encoding real text in context, never written down in code:

- the tag must be one token, the same one after any step text, alone at the end and before the next line;
- good and bad are the tokens that would stand in the tag's place at the end of a text. Labels never enter the
  text (in Llama-3 ``" +\n"`` is one token, so text with labels in it is cut elsewhere): they go in by
  token position;
- the ids are checked against a fingerprint of the tokenizer whenever a verifier is loaded.

What cannot be told apart is an error that names the cause and the way out. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shepherd.errors import ShepherdError
from shepherd.steps import TAG, prompt, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A step can end in any of these; the tag must come out as the same token after each.
_STEP_ENDINGS = (
    "Step 1: He has 3 apples.",
    "Step 1: 3 * 4 = <<3*4=12>>12",
    "Step 1: 2 + 2 = 4 apples",
    "Step 1: (3/4)*(16) = 12)",
    "Step 1: That is 50%",
    "Step 1: The answer is: $1,200.50",
    "Step 1: Is it x - 1 ?",
    'Step 1: She said "no"',
)
# Ordinary text of the trade. A tag that occurs here would be supervised where no step ends.
_ORDINARY_TEXT = (
    "Janet pays $40/hour for 3 hours per week of clarinet lessons, and 28 - 5 + 2 = 25 for piano.\n"
    "Step 1: 3 hours + 5 hours = <<3+5=8>>8 hours.\n\nStep 2: 50% of 1,200.75 is (600.375); is x > -3 & 4?\n"
    '"Yes!" he said: {a_b} [c] #4 @home ~ ^2 `code` \\frac{1}{2}; the answer is: 7'
)
# What to propose where the configured string will not do: tags are rare in word problems and whole in many
# vocabularies; labels may be ordinary words, since they never stand in a text.
_OTHERS = {
    "tag": ("ки", "и", "я", "§", "¶", "†", "»", "©", "±", "¿", "STEP", "END"),
    "good": ("+", "yes", "good", "right", "1", "So"),
    "bad": ("-", "no", "bad", "wrong", "0", "He"),
}
# What tells two tokenizers apart: scripts, digits, runs of spaces, operators, merges around labels.
_FINGERPRINT_TEXT = (
    _ORDINARY_TEXT
    + " ки\nStep 3: +  -   + - \n\n\n\t1234567890 0.001 ½ × ÷ − \uff0b café ﬁ Å Ω Привет, книги 你好 🙂 "
    + "unbelievably internationalization xylophone qqzz </s><s> +\n -\nки+-+-"
)


@dataclass(frozen=True, slots=True)
class Template:
    r"""The three strings of the template ``{question} Step 1: … {tag}\nStep 2: … {tag}``."""

    tag: str = TAG
    good: str = "+"
    bad: str = "-"


@dataclass(frozen=True, slots=True)
class TagContract:
    """Token ids of tag, good and bad for one tokenizer, as saved in ``verifier.json``."""

    template: Template
    tag_id: int
    good_id: int
    bad_id: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TagContract:
        """From `to_json`."""
        return cls(**{**data, "template": Template(**data["template"])})


class EncodedSolution(NamedTuple):
    """Token ids of question and steps, and the position of each step's tag among them."""

    ids: NDArray[np.int32]
    tags: NDArray[np.int32]


def text_of(question: str, steps: Sequence[str], tag: str = TAG) -> str:
    r"""The verifier's input: ``{question} Step 1: … ки\nStep 2: … ки``, the tag standing nowhere else.

    A tag inside the question or a step would be read as the end of a step, so it is removed there.
    `verifier.data.rows` counts the training rows it happens to.
    """
    return prompt(without_tag(question, tag)) + render([without_tag(step, tag) for step in steps], tag)


def without_tag(text: str, tag: str = TAG) -> str:
    """`text` with every tag removed.

    Example:
        >>> without_tag("How many ки?")
        'How many ?'
    """
    while tag in text:  # removing one can bring the halves of another together
        text = text.replace(tag, "")
    return text


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of what a tokenizer does: its whole vocabulary and its encoding of a text that shows its merges.

    It is taken from behaviour, not from files, so that saving and loading keep it, and a library
    version that encodes the same text otherwise changes it.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True).encode())
    digest.update(json.dumps(_ids(tokenizer, [_FINGERPRINT_TEXT])[0]).encode())
    digest.update(json.dumps([tokenizer.bos_token_id, tokenizer.eos_token_id]).encode())
    return digest.hexdigest()


class _AmbiguousError(ShepherdError):
    """A tag or label that cannot be told apart; `key` is the template's key to change."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def resolve(tokenizer: PreTrainedTokenizerBase, template: Template | None = None) -> TagContract:
    """Find the ids of tag, good and bad in context.

    Args:
        tokenizer: any Hugging Face tokenizer.
        template: the strings to look for; ``ки``, ``+`` and ``-`` unless given.

    Raises:
        ShepherdError: when the tag or a label is no single token in context, when two of them
            coincide, or when the tag also occurs in ordinary text.
    """
    template = template or Template()
    try:
        return _resolve(tokenizer, template)
    except _AmbiguousError as error:
        value = _other(tokenizer, template, error.key) or "…"
        raise ShepherdError(f"{error}: --set template.{error.key}={value}") from None


def _other(tokenizer: PreTrainedTokenizerBase, template: Template, key: str) -> str | None:
    """A string that would do in the place of `key`, for the error that says so."""
    for symbol in _OTHERS[key]:
        try:
            _resolve(tokenizer, replace(template, **{key: symbol}))
        except ShepherdError:
            continue
        return symbol
    return None


def _resolve(tokenizer: PreTrainedTokenizerBase, template: Template) -> TagContract:
    tag_id = _in_context(tokenizer, template.tag, "tag")
    good_id = _in_context(tokenizer, template.good, "good")
    bad_id = _in_context(tokenizer, template.bad, "bad")
    _check_newline(tokenizer, template.tag, tag_id)
    if good_id == bad_id:
        raise _ambiguous(
            tokenizer, f"good {template.good!r} and bad {template.bad!r} are the same token {good_id}", "good"
        )
    if tag_id in (good_id, bad_id):
        raise _ambiguous(
            tokenizer, f"the tag {template.tag!r} is the same token ({tag_id}) as a label", "tag"
        )
    if tag_id in _ids(tokenizer, [_ORDINARY_TEXT])[0]:
        raise _ambiguous(
            tokenizer, f"the tag {template.tag!r} (token {tag_id}) also occurs inside ordinary text", "tag"
        )
    return TagContract(template, tag_id, good_id, bad_id, fingerprint(tokenizer))


def check(contract: TagContract, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Refuse a tokenizer other than the one the contract was made with."""
    if fingerprint(tokenizer) != contract.fingerprint:
        raise ShepherdError(
            f"{where}: the tokenizer is not the one this verifier was trained with (fingerprint differs); "
            "restore the folder's own tokenizer files, or train again"
        )
    found = resolve(tokenizer, contract.template)
    if found != contract:
        raise ShepherdError(
            f"{where}: saved ids tag {contract.tag_id}, good {contract.good_id}, bad {contract.bad_id} "
            f"but the tokenizer gives {found.tag_id}, {found.good_id}, {found.bad_id}; train again"
        )


def encode(
    tokenizer: PreTrainedTokenizerBase,
    contract: TagContract,
    solutions: Sequence[tuple[str, Sequence[str]]],
    chunk: int = 1024,
) -> Iterator[EncodedSolution]:
    """Encode (question, steps) pairs whole, and find each step's tag: as many positions as steps, always.

    Where the tag's token also comes out of other text (``ки`` inside a Russian word), the tags are told
    apart by their character positions. Where a step's own end swallows the tag (in Mistral, one that ends in
    the character ``▁``), or the tokenizer keeps no characters, the text is encoded piece by piece with the
    tag put between: a candidate is hostile text, and one of them must not end a run.
    """
    tag = contract.template.tag
    for start in range(0, len(solutions), chunk):
        part = solutions[start : start + chunk]
        texts = [text_of(question, steps, tag) for question, steps in part]
        encoded = tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        for row, (_, steps) in enumerate(part):
            ids = np.array(bos + encoded["input_ids"][row], dtype=np.int32)
            tags = np.flatnonzero(ids == contract.tag_id).astype(np.int32)
            if len(tags) != len(steps):
                tags = _tags_by_character(encoded, row, texts[row], contract, len(bos))
            if len(tags) == len(steps):
                yield EncodedSolution(ids, tags)
            else:
                yield _encode_in_pieces(tokenizer, contract, texts[row], bos)


def _tags_by_character(
    encoded: Any, row: int, text: str, contract: TagContract, shift: int
) -> NDArray[np.int32]:
    """Tag positions from the tag's character positions; empty where the tokenizer keeps no characters."""
    if not encoded.is_fast:
        return np.empty(0, dtype=np.int32)
    tag, found, at = contract.template.tag, [], text.find(contract.template.tag)
    while at >= 0:
        token = encoded.char_to_token(row, at)
        if token is not None and encoded["input_ids"][row][token] == contract.tag_id:
            found.append(token + shift)
        at = text.find(tag, at + len(tag))
    return np.array(found, dtype=np.int32)


def _encode_in_pieces(
    tokenizer: PreTrainedTokenizerBase, contract: TagContract, text: str, bos: list[int]
) -> EncodedSolution:
    """Tokens of what stands between the tags, each piece by itself, closed by the tag's token."""
    ids, tags = list(bos), []
    pieces = [piece.removesuffix(" ") for piece in text.split(contract.template.tag)[:-1]]
    for piece in _ids(tokenizer, pieces):
        ids += [*piece, contract.tag_id]  # the tag's token has the blank before it
        tags.append(len(ids) - 1)
    return EncodedSolution(np.array(ids, dtype=np.int32), np.array(tags, dtype=np.int32))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text without special tokens."""
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def _in_context(tokenizer: PreTrainedTokenizerBase, symbol: str, key: str) -> int:
    """The one token that `symbol` becomes after a step, in the tag's place."""
    before = _ids(tokenizer, _STEP_ENDINGS)
    after = _ids(tokenizer, [f"{ending} {symbol}" for ending in _STEP_ENDINGS])
    if not after[0]:
        raise ShepherdError(
            "the tokenizer encodes text to nothing; load a folder with tokenizer.json, or with "
            "tokenizer.model and tokenizer_config.json, through AutoTokenizer"
        )
    found: dict[int, str] = {}
    for ending, short, long in zip(_STEP_ENDINGS, before, after, strict=True):
        if long[: len(short)] != short:
            raise _ambiguous(tokenizer, f"{symbol!r} merges with the text before it ({ending[-8:]!r})", key)
        added = long[len(short) :]
        if len(added) != 1:
            names = tokenizer.convert_ids_to_tokens(added)
            raise _ambiguous(
                tokenizer, f"{symbol!r} is {len(added)} tokens {names} after {ending[-8:]!r}", key
            )
        found[added[0]] = ending
    if len(found) > 1:
        raise _ambiguous(tokenizer, f"{symbol!r} is a different token after different steps: {found}", key)
    (token,) = found
    if token == tokenizer.unk_token_id:
        raise _ambiguous(
            tokenizer, f"{symbol!r} is not in the vocabulary (it becomes the unknown token)", key
        )
    return token


def _check_newline(tokenizer: PreTrainedTokenizerBase, tag: str, tag_id: int) -> None:
    """The tag must stay itself when the next step follows on a new line."""
    before = _ids(tokenizer, _STEP_ENDINGS)
    after = _ids(tokenizer, [f"{ending} {tag}\nStep 2: So 7." for ending in _STEP_ENDINGS])
    for short, long in zip(before, after, strict=True):
        if long[: len(short) + 1] != [*short, tag_id]:
            raise _ambiguous(tokenizer, f"the tag {tag!r} merges with the newline that follows it", "tag")


def _ambiguous(tokenizer: PreTrainedTokenizerBase, cause: str, key: str) -> ShepherdError:
    name = getattr(tokenizer, "name_or_path", "") or "tokenizer"
    return _AmbiguousError(f"{name}: {cause}; choose a string that is one token of its own", key)
