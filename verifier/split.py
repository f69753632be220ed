"""Which rows are held out: whole questions, drawn from the seed, as places of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Places(NamedTuple):
    """Places of rows to train on, in their order, and of rows held out, question after question."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]


def split_places(
    question: NDArray[np.int64], names: Sequence[str], fraction: float, seed: int, limit: int | None
) -> Places:
    """Hold out a `fraction` of the questions, whole: solutions of one question share its quantities.

    Of the held-out rows at most about `limit` are kept, again whole questions; the rest is not trained on.
    Questions that differ by blanks around them are one.

    Args:
        question: number of each row's question; shape ``(rows,)``.
        names: the questions by number; those of no row do not count.
        fraction: of the questions that rows have, in [0, 1).
        seed: of the draw.
        limit: rows; None for all.

    Example:
        >>> places = split_places(np.array([0, 1, 0, 2]), ["a", "b", " a "], 0.4, seed=1, limit=None)
        >>> places.train.tolist(), places.heldout.tolist()
        ([0, 2, 3], [1])
    """
    used = np.unique(question)
    stripped = [names[number].strip() for number in used.tolist()]
    distinct = sorted(set(stripped))
    order = np.random.default_rng([seed, 0x5E]).permutation(len(distinct))
    count = round(fraction * len(distinct))
    if fraction > 0 and len(distinct) > 1:
        count = max(1, count)
    drawn = {distinct[place]: rank for rank, place in enumerate(order[:count])}
    ranks = np.full(len(names), count, dtype=np.int64)
    ranks[used] = [drawn.get(name, count) for name in stripped]
    rank = ranks[question]
    held = np.flatnonzero(rank < count)
    held = held[np.argsort(rank[held], kind="stable")]
    return Places(np.flatnonzero(rank == count), first_questions(held, question, limit))


def first_questions(
    places: NDArray[np.int64], question: NDArray[np.int64], limit: int | None
) -> NDArray[np.int64]:
    """The first places up to `limit`, but never half a question's rows that stand together.

    Args:
        places: of rows; shape ``(n,)``.
        question: number of every row's question.
        limit: rows; None for all.

    Example:
        >>> first_questions(np.array([0, 1, 2, 3]), np.array([7, 7, 7, 8]), 2).tolist()
        [0, 1, 2]
    """
    if limit is None or len(places) <= limit:
        return places
    numbers = question[places[limit - 1 :]]
    other = np.flatnonzero(numbers[1:] != numbers[:-1])
    return places[: limit + int(other[0])] if len(other) else places
