"""Training rows as tokens, and the plan of batches: everything about order is fixed before the first step.

Rows are encoded once (`verifier.data.tokens`) and cut here. The plan is a list of row-index arrays made from
the seed alone, so a resumed run needs only the number of batches it has done. Rows are shuffled, sorted by
length inside windows (little padding), cut to batches and the batches shuffled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shepherd.errors import ShepherdError
from verifier.data.corpus import Corpus
from verifier.data.tokens import Tokens
from verifier.flat import EncodedRow, FlatRows, Tagged, flatten

__all__ = [
    "EncodedRow",
    "EncodedRows",
    "Supervised",
    "Supervision",
    "cut_rows",
    "fixed_batches",
    "in_epochs",
    "make_plan",
    "plan_digest",
    "questions_of",
    "shuffle_labels",
    "supervised",
    "text_lengths",
]

_WINDOW_BATCHES = 64

Supervision = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]
"""What of the labels of all steps is learnt, given where each row's steps end; NaN for what is not."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows that have something to teach, and what was cut."""

    rows: Sequence[EncodedRow]
    steps_cut: int
    rows_cut: int
    rows_too_long: int
    rows_unlabelled: int
    rows_one_class: int = 0

    @property
    def flat(self) -> FlatRows:
        """The rows as arrays."""
        return flatten(self.rows)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens a row."""
        return self.flat.lengths

    @property
    def questions(self) -> NDArray[np.int64]:
        """Number of each row's question, in order of first appearance."""
        return self.flat.questions

    @property
    def tokens(self) -> int:
        """Tokens of all rows, padding not counted."""
        return int(self.lengths.sum())

    @property
    def labelled_steps(self) -> int:
        """Supervised positions of all rows."""
        return int(self.flat.supervised.sum())

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


def supervised(row: EncodedRow | Tagged) -> Supervised:
    """The tags of a row that have a label.

    Example:
        >>> from shepherd.records import StepRow
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
    kept = rows.flat.text_lengths
    if not len(kept):
        return {}
    quantiles = {f"p{at}": int(np.percentile(kept, at, method="inverted_cdf")) for at in (5, 25, 50, 75, 95)}
    return {"texts": len(kept), **quantiles, "max": int(kept.max())}


def cut_rows(
    corpus: Corpus,
    tokens: Tokens,
    places: NDArray[np.int64],
    max_length: int,
    supervision: Supervision | None = None,
    labels: NDArray[np.float64] | None = None,
) -> EncodedRows:
    """Rows to train on; one longer than `max_length` tokens loses whole steps from its end, and is counted.

    Tokens after the last labelled step teach nothing and are left out. Rows without any label, and rows
    whose first labelled step does not fit, are left out and counted.

    Args:
        corpus: all rows.
        tokens: theirs.
        places: of the rows that are wanted, in their order.
        max_length: tokens.
        supervision: what of a row is learnt, as for an outcome head one label at its end; None for all.
        labels: of all steps of the corpus, where they are not the corpus's own.
    """
    said = corpus.labels if labels is None else labels
    learnt = (said if supervision is None else supervision(said, corpus.step_ends)).astype(np.float32)
    step_row = np.repeat(np.arange(len(corpus)), corpus.steps)
    step = np.arange(len(step_row)) - corpus.step_ends[step_row]
    fits = tokens.tags < max_length  # tags rise, so what fits comes first
    known = np.isfinite(learnt)
    fit = np.bincount(step_row[fits], minlength=len(corpus))
    labelled = np.bincount(step_row[known], minlength=len(corpus)) > 0
    keep = np.zeros(len(corpus), np.int64)
    usable = known & fits
    keep[step_row[usable]] = step[usable] + 1  # of equal places the last one written stays: the last step
    wanted = labelled[places]
    cut = np.where(wanted, corpus.steps[places] - fit[places], 0)
    left = places[wanted & (keep[places] > 0)]
    first = corpus.step_ends[left]
    rows = FlatRows(
        tokens.ids,
        tokens.tags,
        learnt,
        corpus.characters,
        tokens.ends[left],
        tokens.tags[first + keep[left] - 1].astype(np.int64) + 1,
        first,
        keep[left],
        corpus.question[left],
        left,
        partial(corpus.row, labels=said),
    )
    too_long = int((wanted & (keep[places] == 0)).sum())
    return EncodedRows(rows, int(cut.sum()), int((cut > 0).sum()), too_long, int((~wanted).sum()))


def shuffle_labels(labels: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Permute all labels among all labelled steps: the same share of good, and nothing to learn.

    Example:
        >>> shuffle_labels(np.array([1.0, np.nan, 0.0]), seed=1).tolist()
        [0.0, nan, 1.0]
    """
    known = np.flatnonzero(np.isfinite(labels))
    order = np.random.default_rng([seed, 0xC0]).permutation(len(known))
    shuffled = labels.copy()
    shuffled[known] = labels[known[order]]
    return shuffled


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
    """Batches by length, longest first, of what is read at once: order of rows does not matter there.

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
    for ids, tags, labels in rows.flat.all_tagged():
        digest.update(ids.tobytes() + tags.tobytes() + labels.tobytes())
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
