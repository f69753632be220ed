"""Which token ends which step, against the definition, for any way to cut any text into tokens."""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from generation.learn.grpo.steps_of_tokens import offsets_of_ids, offsets_of_pieces, step_ends
from shepherd.assets import asset
from shepherd.steps import TAG, split

parts = st.sampled_from(
    [
        "Step 1: 2 + 3 = 5",
        "Step 2 - six",
        "\n",
        "\n\n",
        " ",
        f" {TAG}",
        TAG,
        "####",
        "7",
        ".",
        "\0",
        "é",
        "The answer is: 5",
    ]
)
texts = st.one_of(st.lists(parts, max_size=14).map("".join), st.text(max_size=30))


@st.composite
def tokenized(draw: st.DrawFn) -> list[str]:
    """A text cut anywhere, with empty pieces (special tokens) anywhere."""
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def ends_by_definition(pieces: Sequence[str]) -> tuple[int, ...]:
    """Give every token to a step, then look which is a step's last."""
    text = "".join(pieces)
    solution = split(text)
    core: list[int | None] = []  # the step that a character is of, its tag included; None between steps
    begins: list[int] = []
    core += [None] * len(solution.gaps[0])
    for number, (step, gap) in enumerate(zip(solution.steps, solution.gaps[1:], strict=True)):
        begins.append(len(core))
        closed = gap.rfind(TAG) + len(TAG) if TAG in gap else 0
        core += [number] * (len(step) + closed) + [None] * (len(gap) - closed)
    owner: list[int] = []
    place = 0
    for piece in pieces:
        own = [step for step in core[place : place + len(piece)] if step is not None]
        place += len(piece)
        # A piece of no step belongs to the one it follows, or to the first.
        owner.append(own[0] if own else max(0, sum(begin < place for begin in begins) - 1))
    owner[-1] = max(owner[-1], len(solution.steps) - 1)
    return tuple(
        max((at for at, step in enumerate(owner) if step <= number), default=0)
        if number < len(solution.steps) - 1
        else len(pieces) - 1
        for number in range(len(solution.steps))
    )


@given(tokenized())
def test_ends_are_those_of_the_definition(pieces: list[str]) -> None:
    found = step_ends("".join(pieces), offsets_of_pieces(pieces))
    assert found == ends_by_definition(pieces)
    assert len(found) == len(split("".join(pieces)).steps)
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("pieces", "ends"),
    [
        (["Step 1: 7", " ки", "\n", "Step 2: 8", " ки", ""], (2, 5)),
        (["Step 1: 7 ки\nSt", "ep 2: 8 ки"], (0, 1)),  # a token over the border is the step's it begins in
        (["2 + 3 = 5.", "\n", " So", " 5."], (1, 3)),  # the blank of a first token is that step's
        (["2 + 3 = 5.\n So", " 5."], (0, 1)),
        (["a\nb\nc", "", ""], (0, 0, 2)),  # all in one token
        (["Step 1: 7 к", "и", "\nStep 2: 8"], (1, 2)),  # the tag itself in two tokens
        (["7 ки ки ки", "\n", "!", "!"], (3,)),  # tags alone make no steps
        (["ки", "\n", "Step 1: 7 ки"], (2,)),  # what stands before the first step
        ([""], ()),
        ([], ()),
        ([" ", "\n"], ()),
        (["\0", "\0 ки", "x"], (1, 2)),
    ],
)
def test_ends_of_known_cuts(pieces: list[str], ends: tuple[int, ...]) -> None:
    assert step_ends("".join(pieces), offsets_of_pieces(pieces)) == ends


def test_offsets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="never fall"):
        step_ends("Step 1: 7", [4, 2])
    with pytest.raises(ValueError, match="a text of 1 steps and no tokens"):
        step_ends("Step 1: 7", [])


def test_megabyte_lines_take_linear_time() -> None:
    """Quadratic time would take hours, and the test's own limit is minutes."""
    for piece in ("a", "ки", "\n", "Step 1: a\n", "\0", " "):
        count = 1_000_000 // len(piece)
        text = piece * count
        found = step_ends(text, np.arange(1, count + 1) * len(piece))
        assert len(found) == len(split(text).steps)


@pytest.mark.parametrize("data", ["ки".encode(), b"\xff", b"a\xd0"])
def test_a_megabyte_of_bytes_takes_linear_time(data: bytes) -> None:
    """What is decoded together stays a few tokens, even where no byte of them is text."""
    longest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(ids)) if len(ids) < len(tokens) else longest
        return bytes(ids).decode(errors="replace")

    tokens = list(data) * (200_000 // len(data))
    assert len(offsets_of_ids(tokens, decode)) == len(tokens)
    assert longest <= 16


@given(texts.filter(lambda text: "\ufffd" not in text))
def test_bytes_end_where_their_letters_end(text: str) -> None:
    offsets = offsets_of_ids(list(text.encode()), lambda ids: bytes(ids).decode(errors="replace"))
    letters = [len(letter.encode()) for letter in text]
    expected = [at + (k == width - 1) for at, width in enumerate(letters) for k in range(width)]
    assert offsets.tolist() == expected


@given(tokenized())
def test_a_tokenizer_that_drops_the_first_blank(pieces: list[str]) -> None:
    """As Llama-2's: the text of some tokens does not begin with the blank that the first has."""

    def decode(ids: Sequence[int]) -> str:
        return "".join(pieces[each] for each in ids).removeprefix(" ")

    text = decode(range(len(pieces)))
    offsets = offsets_of_ids(range(len(pieces)), decode)
    dropped = len("".join(pieces)) - len(text)
    exact = offsets_of_pieces(pieces)
    assert (np.diff(offsets) >= 0).all()
    if all(pieces):  # where nothing is empty, a token's text is what it adds
        assert offsets.tolist() == [max(0, each - dropped) for each in exact]


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text(data: bytes) -> None:
    def decode(ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    offsets = offsets_of_ids(list(data), decode)
    text = decode(list(data))
    assert len(offsets) == len(data)
    assert (np.diff(offsets, prepend=0) >= 0).all()
    if data:
        assert len(step_ends(text, offsets)) == len(split(text).steps)


def test_single_tokens_are_decoded_once_and_kept() -> None:
    asked: list[tuple[int, ...]] = []

    def decode(ids: Sequence[int]) -> str:
        asked.append(tuple(ids))
        return "".join("ab"[each] for each in ids)

    known: dict[int, str] = {}
    assert offsets_of_ids([0, 1, 0, 1], decode, known).tolist() == [1, 2, 3, 4]
    assert offsets_of_ids([1, 1, 0, 0], decode, known).tolist() == [1, 2, 3, 4]
    assert known == {0: "a", 1: "b"}
    assert asked == [(0,), (1,), (0, 1, 0, 1), (1, 1, 0, 0)]


def test_packaged_solutions_under_their_own_tokenizer() -> None:
    """Every step of the packaged pool ends with its tag's token, or the line end after it."""
    tokenizer = Tokenizer.from_file(str(asset("weak") / "tokenizer.json"))
    with lzma.open(asset("pool"), "rt", encoding="utf-8") as lines:
        candidates = [each["text"] for line in lines for each in json.loads(line)["candidates"]]
    solutions = sorted(set(candidates))[:300]
    known: dict[int, str] = {}
    for text in solutions:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        offsets = offsets_of_ids(ids, tokenizer.decode, known)
        assert offsets[-1] == len(text)
        ends = step_ends(text, offsets)
        assert len(ends) == len(split(text).steps)
        begin = 0
        for step, end in zip(split(text).steps, ends, strict=True):
            own = tokenizer.decode(ids[begin : end + 1])
            assert own.strip().removesuffix(TAG).strip() == step
            begin = end + 1
