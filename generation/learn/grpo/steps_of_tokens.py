"""Where each step of a completion ends, in tokens: what a reward of a step is given to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shepherd.steps import TAG, split

Offsets = NDArray[np.int64]

_LONGEST_CHARACTER = 8
"""Tokens that are waited for until a character is whole; UTF-8 has at most four bytes."""

_UNFINISHED = "\ufffd"


def offsets_of_pieces(pieces: Sequence[str]) -> Offsets:
    """Character offset at which each token ends, from the texts of the tokens.

    Args:
        pieces: what each token adds to the text; "" for a special token.

    Returns:
        Shape ``(tokens,)``, never falling; the last is the length of the text.

    Example:
        >>> offsets_of_pieces(["Step", " 1", ""]).tolist()
        [4, 6, 6]
    """
    return np.cumsum(np.fromiter((len(each) for each in pieces), dtype=np.int64, count=len(pieces)))


def offsets_of_ids(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], known: dict[int, str] | None = None
) -> Offsets:
    r"""Character offset at which each token ends, in the text that the tokens make together.

    Where the texts of single tokens make up the whole, they are the answer. Elsewhere (a byte of a letter is
    no text, and some tokenizers drop the blank that a text begins with) each token is what the text grows by
    when it is added to the few before it: one in the midst of a letter adds nothing, the one that ends it the
    letter. Time is linear in the tokens.

    Args:
        ids: tokens of a completion, its end token among them or not.
        decode: text of some tokens in a row; special ones are left out, as in the completion's text.
        known: texts of single tokens, kept by the caller from one completion to the next.

    Returns:
        Shape ``(tokens,)``, never falling. The last is the length of ``decode(ids)``, or less where the last
        tokens are bytes that make no letter; `step_ends` takes that.

    Example:
        >>> letters = "1: ки".encode()
        >>> def decode(ids):
        ...     return bytes(letters[i] for i in ids if i < 7).decode(errors="replace")
        >>> offsets_of_ids(range(8), decode).tolist()
        [1, 2, 3, 3, 4, 4, 5, 5]
    """
    known = {} if known is None else known
    for each in ids:
        if each not in known:
            known[each] = decode([each])
    pieces = [known[each] for each in ids]
    if "".join(pieces) == decode(ids):
        return offsets_of_pieces(pieces)
    offsets = np.zeros(len(ids), dtype=np.int64)
    before = read = 0  # tokens from `before` on are decoded together; those before `read` are counted
    place = 0
    for index in range(len(ids)):
        had, has = decode(ids[before:read]), decode(ids[before : index + 1])
        if not has.endswith(_UNFINISHED) or index + 1 - read >= _LONGEST_CHARACTER:
            place += max(0, len(has) - len(had))
            before, read = read, index + 1
        offsets[index] = place
    return offsets


def step_ends(text: str, offsets: Sequence[int] | Offsets, tag: str = TAG) -> tuple[int, ...]:
    r"""Index of the last token of each step, as `shepherd.steps.split` finds the steps.

    A step's tag and what else stands before the next step (its line end) belong to it, and all tokens after
    the last step to the last step, an end token among them; what stands before the first step belongs to the
    first. A token that holds the end of one step and the beginning of the next belongs to the one it begins
    in; but a blank that begins a step's first token is that step's. So each token belongs to one step.

    Args:
        text: the completion.
        offsets: where each token ends in it, as `offsets_of_pieces` gives it; shape ``(tokens,)``.
        tag: closes a step.

    Returns:
        One index a step, never falling; two steps end on one token only where that token holds the whole
        second one. Nothing for a text without steps.

    Raises:
        ValueError: if the offsets fall, or there are steps and no tokens.

    Example:
        >>> pieces = ["Step 1: 7", " ки", "\n", "Step 2: 8", " ки", "</s>"]
        >>> step_ends("".join(pieces[:-1]), offsets_of_pieces([*pieces[:-1], ""]))
        (2, 5)
    """
    ends = np.asarray(offsets, dtype=np.int64)
    if ends.ndim != 1 or np.any(np.diff(ends, prepend=0) < 0):
        raise ValueError(f"offsets must be of shape (tokens,) and never fall; found shape {ends.shape}")
    solution = split(text, tag)
    if not solution.steps:
        return ()
    if len(ends) == 0:
        raise ValueError(f"a text of {len(solution.steps)} steps and no tokens")
    own, following = _borders(solution.steps, solution.gaps, tag)
    inside = np.searchsorted(ends, following, side="right")  # tokens that end before the next step begins
    begun = np.searchsorted(np.concatenate([[0], ends[:-1]]), own, side="left")  # that begin inside the step
    last = np.append(np.maximum(inside, begun) - 1, len(ends) - 1)
    # A letter in several tokens leaves the first of them empty: a step is never before the first token.
    return tuple(int(each) for each in np.clip(np.maximum.accumulate(last), 0, len(ends) - 1))


def _borders(steps: Sequence[str], gaps: Sequence[str], tag: str) -> tuple[Offsets, Offsets]:
    """For each step but the last: where it ends with its tag, and where the next one begins."""
    own, following = [], []
    place = len(gaps[0])
    for step, gap in zip(steps[:-1], gaps[1:-1], strict=True):
        place += len(step)
        closed = gap.rfind(tag)
        own.append(place if closed < 0 else place + closed + len(tag))
        place += len(gap)
        following.append(place)
    return np.array(own, dtype=np.int64), np.array(following, dtype=np.int64)
