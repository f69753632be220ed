"""Encoded rows as a few long arrays: whatever is asked of all rows is arithmetic, whatever of one is a slice.

Over mapped columns (`verifier.data.tokens`) nothing of a row is in memory until somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from eval.diagnostics import text_length
from shepherd.records import StepRow


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row as tokens: ``ids`` (n,), and for each step kept its tag position and its label (NaN: none)."""

    ids: NDArray[np.int32]
    tags: NDArray[np.int32]
    labels: NDArray[np.float32]
    row: StepRow


class Tagged(NamedTuple):
    """What of a row is trained on: the arrays of an `EncodedRow`."""

    ids: NDArray[np.int32]
    tags: NDArray[np.int32]
    labels: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FlatRows(Sequence[EncodedRow]):
    """Rows of flat arrays; of row i the ids ``starts[i]`` on and the steps ``first[i]`` on.

    Attributes:
        ids: shape ``(tokens,)``; may hold tokens of no row.
        tags: of every step, in its row; shape ``(steps,)``.
        labels: what is supervised, NaN where nothing is; shape ``(steps,)``.
        characters: of question and steps up to each step's end; shape ``(steps,)``.
        starts: shape ``(rows,)``, as all that follow.
        lengths: tokens.
        first: each row's first step.
        kept: steps that are left, at least 1.
        question: a number for each row's question, not counted from 0.
        number: what `read` calls each row.
        read: gives the text of a row.
    """

    ids: NDArray[np.int32]
    tags: NDArray[np.int32]
    labels: NDArray[np.float32]
    characters: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first: NDArray[np.int64]
    kept: NDArray[np.int64]
    question: NDArray[np.int64]
    number: NDArray[np.int64]
    read: Callable[[int], StepRow]

    def __len__(self) -> int:
        """Rows."""
        return len(self.number)

    @overload
    def __getitem__(self, index: int) -> EncodedRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[EncodedRow]: ...

    def __getitem__(self, index: int | slice) -> EncodedRow | list[EncodedRow]:
        """A row with its text, or a list of some."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return EncodedRow(*self.tagged(index), self.read(int(self.number[index])))

    def tagged(self, index: int) -> Tagged:
        """A row without its text."""
        start, step = self.starts[index], self.first[index]
        end = step + self.kept[index]
        return Tagged(
            self.ids[start : start + self.lengths[index]], self.tags[step:end], self.labels[step:end]
        )

    def all_tagged(self) -> Iterator[Tagged]:
        """Every row without its text."""
        return map(self.tagged, range(len(self)))

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> FlatRows:
        """Some of the rows, by their places or by a mask."""
        names = ("starts", "lengths", "first", "kept", "question", "number")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    @property
    def step_labels(self) -> NDArray[np.float32]:
        """Labels of every step kept, row after row; shape ``(sum of kept,)``."""
        found: NDArray[np.float32] = self.labels[spans(self.first, self.kept)]
        return found

    @property
    def supervised(self) -> NDArray[np.int64]:
        """Labels a row; shape ``(rows,)``."""
        known = np.concatenate([[0], np.cumsum(np.isfinite(self.labels))])
        found: NDArray[np.int64] = known[self.first + self.kept] - known[self.first]
        return found

    @property
    def last_labels(self) -> NDArray[np.float32]:
        """Label of each row's last step kept; shape ``(rows,)``."""
        found: NDArray[np.float32] = self.labels[self.first + self.kept - 1]
        return found

    @property
    def text_lengths(self) -> NDArray[np.int64]:
        """Characters of each row's question and kept steps; shape ``(rows,)``."""
        found: NDArray[np.int64] = self.characters[self.first + self.kept - 1].astype(np.int64)
        return found

    @property
    def questions(self) -> NDArray[np.int64]:
        """Number of each row's question, in order of first appearance; shape ``(rows,)``."""
        _, first, number = np.unique(self.question, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        found: NDArray[np.int64] = rank[number]
        return found


def flatten(rows: Sequence[EncodedRow]) -> FlatRows:
    """Rows as arrays; those that are so already, as they are.

    Example:
        >>> row = EncodedRow(np.arange(3, dtype=np.int32), np.array([2], np.int32),
        ...     np.array([1], np.float32), StepRow("q", ("a",), (1.0,)))
        >>> flatten([row, row]).questions.tolist(), flatten([row, row]).lengths.tolist()
        ([0, 0], [3, 3])
    """
    if isinstance(rows, FlatRows):
        return rows
    numbers: dict[str, int] = {}
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    kept = np.array([len(row.labels) for row in rows], np.int64)
    characters = [
        text_length(row.row.question, row.row.steps[: end + 1])
        for row in rows
        for end in range(len(row.labels))
    ]
    return FlatRows(
        np.concatenate([np.empty(0, np.int32), *(row.ids for row in rows)]),
        np.concatenate([np.empty(0, np.int32), *(row.tags for row in rows)]),
        np.concatenate([np.empty(0, np.float32), *(row.labels for row in rows)]),
        np.array(characters, np.int32),
        np.cumsum(lengths) - lengths,
        lengths,
        np.cumsum(kept) - kept,
        kept,
        np.array([numbers.setdefault(row.row.question, len(numbers)) for row in rows], np.int64),
        np.arange(len(rows)),
        lambda index: rows[index].row,
    )


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every place of spans, one span after another; shape ``(sum of lengths,)``.

    Example:
        >>> spans(np.array([5, 0]), np.array([3, 2])).tolist()
        [5, 6, 7, 0, 1]
    """
    shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    found: NDArray[np.int64] = shifts + np.arange(len(shifts))
    return found
