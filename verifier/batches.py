"""Training rows as tokens, and the plan of batches: everything about order is fixed before the first step.

Rows are encoded once. The plan is a list of row-index arrays made from the seed alone, so a resumed run
needs only the number of batches it has done. Rows are shuffled, sorted by length inside windows (little
padding), cut to batches and the batches shuffled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.diagnostics import text_length
from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier.tags import TagContract, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WINDOW_BATCHES = 64


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row as tokens: ``ids`` (n,), and for each step kept its tag position and its label (NaN: none)."""

    ids: NDArray[np.int32]
    tags: NDArray[np.int32]
    labels: NDArray[np.float32]
    row: StepRow


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows that have something to teach, and what was cut."""

    rows: list[EncodedRow]
    steps_cut: int
    rows_cut: int
    rows_too_long: int
    rows_unlabelled: int
    rows_one_class: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens a row."""
        return np.array([len(row.ids) for row in self.rows], dtype=np.int64)

    @property
    def questions(self) -> NDArray[np.int64]:
        """Number of each row's question, in the order of their first rows."""
        numbers: dict[str, int] = {}
        found = [numbers.setdefault(row.row.question, len(numbers)) for row in self.rows]
        return np.array(found, dtype=np.int64)

    @property
    def tokens(self) -> int:
        """Tokens of all rows, padding not counted."""
        return int(self.lengths.sum())

    @property
    def labelled_steps(self) -> int:
        """Supervised positions of all rows."""
        return sum(int(np.isfinite(row.labels).sum()) for row in self.rows)

    def counts(self) -> dict[str, int]:
        """For logs and the model card."""
        return {
            "rows": len(self.rows),
            "tokens": self.tokens,
            "labelled_steps": self.labelled_steps,
            "steps_cut": self.steps_cut,
            "rows_cut": self.rows_cut,
            "rows_too_long": self.rows_too_long,
            "rows_unlabelled": self.rows_unlabelled,
            "rows_one_class": self.rows_one_class,
        }


class Supervised(NamedTuple):
    """What is learnt of a row: positions ``tags`` (n,) and their ``labels`` (n,), null ones left out."""

    tags: NDArray[np.int32]
    labels: NDArray[np.float32]


def supervised(row: EncodedRow) -> Supervised:
    """The tags of a row that have a label.

    Example:
        >>> ids, tags, labels = np.arange(9), np.array([3, 8]), np.array([np.nan, 0.25])
        >>> supervised(EncodedRow(ids, tags, labels, StepRow("q", ("a", "b"), (None, 0.25))))
        Supervised(tags=array([8]), labels=array([0.25]))
    """
    known = np.isfinite(row.labels)
    return Supervised(row.tags[known], row.labels[known])


def text_lengths(rows: EncodedRows) -> dict[str, int]:
    """How long the training texts are, in characters: what a verifier is told of, to notice other texts.

    Returns:
        ``texts`` (how many), and their lengths' ``p5``, ``p25``, ``p50``, ``p75``, ``p95`` and ``max``; steps
        that were cut off do not count. Empty without rows.
    """
    kept = [text_length(row.row.question, row.row.steps[: len(row.labels)]) for row in rows.rows]
    if not kept:
        return {}
    quantiles = {f"p{at}": int(np.percentile(kept, at, method="inverted_cdf")) for at in (5, 25, 50, 75, 95)}
    return {"texts": len(kept), **quantiles, "max": max(kept)}


def encode_rows(
    rows: Sequence[StepRow],
    tokenizer: PreTrainedTokenizerBase,
    contract: TagContract,
    max_length: int,
    labels_of: Callable[[StepRow], Sequence[float | None]] = attrgetter("labels"),
) -> EncodedRows:
    """Encode rows; one longer than `max_length` tokens loses whole steps from its end, and they are counted.

    Tokens after the last labelled step teach nothing and are left out. Rows without any label, and rows
    whose first labelled step does not fit, are left out and counted. `labels_of` a row is what is supervised:
    its step labels, or for an outcome head one label at its end.
    """
    encoded, steps_cut, rows_cut, too_long, unlabelled = [], 0, 0, 0, 0
    pairs = [(row.question, row.steps) for row in rows]
    for row, solution in zip(rows, encode(tokenizer, contract, pairs), strict=True):
        labels = np.array([np.nan if label is None else label for label in labels_of(row)], dtype=np.float32)
        if not np.isfinite(labels).any():
            unlabelled += 1
            continue
        fit = int(np.searchsorted(solution.tags, max_length))
        if fit < len(labels):
            steps_cut += len(labels) - fit
            rows_cut += 1
        known = np.flatnonzero(np.isfinite(labels[:fit]))
        if not len(known):
            too_long += 1
            continue
        keep = int(known[-1]) + 1
        tags = solution.tags[:keep]
        encoded.append(EncodedRow(solution.ids[: tags[-1] + 1], tags, labels[:keep], row))
    return EncodedRows(encoded, steps_cut, rows_cut, too_long, unlabelled)


def shuffle_labels(rows: Sequence[StepRow], seed: int) -> list[StepRow]:
    """Permute all labels among all labelled steps: the same share of good, and nothing to learn.

    Example:
        >>> rows = [StepRow("q", ("a", "b"), (1.0, None)), StepRow("q", ("c",), (0.0,))]
        >>> [row.labels for row in shuffle_labels(rows, seed=1)]
        [(0.0, None), (1.0,)]
    """
    known = [label for row in rows for label in row.labels if label is not None]
    order = np.random.default_rng([seed, 0xC0]).permutation(len(known))
    shuffled = iter([known[i] for i in order])
    return [
        StepRow(
            question=row.question,
            steps=row.steps,
            labels=tuple(None if label is None else next(shuffled) for label in row.labels),
            source=row.source,
            id=row.id,
        )
        for row in rows
    ]


def make_plan(
    lengths: NDArray[np.int64],
    *,
    epochs: float,
    batch_tokens: int,
    batch_solutions: int | None,
    seed: int,
) -> list[NDArray[np.int64]]:
    """Row indices of every batch of the run, in order; a fraction of an epoch is a fraction of its batches.

    Example:
        >>> [batch.tolist() for batch in make_plan(np.array([5, 5, 9]), epochs=1, batch_tokens=10,
        ...     batch_solutions=None, seed=0)]
        [[2], [0, 1]]
    """
    if len(lengths) == 0:
        raise ShepherdError("no training rows are left; see the counts above for why rows were left out")

    def one_epoch(rng: np.random.Generator) -> list[NDArray[np.int64]]:
        batches = _cut(rng.permutation(len(lengths)), lengths, batch_tokens, batch_solutions)
        return [batches[i] for i in rng.permutation(len(batches))]

    return in_epochs(one_epoch, epochs, seed)


def in_epochs(
    one_epoch: Callable[[np.random.Generator], list[NDArray[np.int64]]], epochs: float, seed: int
) -> list[NDArray[np.int64]]:
    """The batches of every epoch one after another, each drawn from its own generator."""
    plan: list[NDArray[np.int64]] = []
    epoch = 0
    while epoch < epochs:
        batches = one_epoch(np.random.default_rng([seed, epoch]))
        part = min(1.0, epochs - epoch)
        plan += batches if part == 1.0 else batches[: max(1, round(part * len(batches)))]
        epoch += 1
    return plan


def fixed_batches(lengths: NDArray[np.int64], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Batches by length, longest first, for evaluation: order of rows does not matter there.

    No row is less than half as long as its batch's longest: beside one long row, a few short ones would be
    nearly all padding.

    Example:
        >>> [batch.tolist() for batch in fixed_batches(np.array([90, 3, 50, 4]), 400)]
        [[0, 2], [3, 1]]
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    batches, start = [], 0
    while start < len(order):
        longest = int(falling[start])
        near = int(np.searchsorted(-falling, -longest / 2, side="right"))
        end = min(near, start + max(1, batch_tokens // max(1, longest)))
        batches.append(order[start:end])
        start = end
    return batches


def questions_of(rows: Sequence[EncodedRow]) -> list[str]:
    """The question of each supervised position, row by row."""
    return [row.row.question for row in rows for _ in range(int(np.isfinite(row.labels).sum()))]


def plan_digest(rows: EncodedRows, plan: Sequence[NDArray[np.int64]]) -> str:
    """Hash of tokens, labels and order: a checkpoint is continued only under the plan it was made with."""
    digest = hashlib.sha256()
    for row in rows.rows:
        digest.update(row.ids.tobytes() + row.tags.tobytes() + row.labels.tobytes())
    for batch in plan:
        digest.update(batch.tobytes() + b"|")
    return digest.hexdigest()


def _cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int, batch_solutions: int | None
) -> list[NDArray[np.int64]]:
    """Sort inside windows of about `_WINDOW_BATCHES` batches, then cut each window."""
    rows_a_batch = max(1, int(batch_tokens / max(1.0, float(lengths.mean()))))
    if batch_solutions is not None:
        rows_a_batch = min(rows_a_batch, batch_solutions)
    window = rows_a_batch * _WINDOW_BATCHES
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += _cut_sorted(part, lengths, batch_tokens, batch_solutions)
    return batches


def _cut_sorted(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int, batch_solutions: int | None
) -> list[NDArray[np.int64]]:
    """Cut rows in the given order so that rows times longest stays within `batch_tokens`."""
    batches, start, longest = [], 0, 0
    for i, row in enumerate(order):
        longest_with = max(longest, int(lengths[row]))
        count = i - start + 1
        too_many = batch_solutions is not None and count > batch_solutions
        if count > 1 and (too_many or longest_with * count > batch_tokens):
            batches.append(order[start:i])
            start, longest_with = i, int(lengths[row])
        longest = longest_with
    if start < len(order):
        batches.append(order[start:])
    return batches
