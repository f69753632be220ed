"""Which questions are held out, and how good a verifier is on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from eval import calibration
from eval.solutions import solution_metrics
from eval.steps import THRESHOLD, step_metrics
from shepherd.records import StepRow
from verifier.batches import EncodedRows, collate, fixed_batches, questions_of
from verifier.config import HeadKind
from verifier.loss import Loss
from verifier.model import TagReader
from verifier.outcome import is_right
from verifier.split import split_places


class Split(NamedTuple):
    """Training rows and held-out rows; no question is in both."""

    train: list[StepRow]
    heldout: list[StepRow]


class Evaluation(NamedTuple):
    """Mean held-out loss, and P(+) at every step of each row."""

    loss: float
    scores: list[NDArray[np.float32]]


def split_by_question(rows: Sequence[StepRow], fraction: float, seed: int, limit: int | None) -> Split:
    """Hold out a `fraction` of the questions of rows at hand, as `verifier.split.split_places` does."""
    numbers: dict[str, int] = {}
    question = np.array([numbers.setdefault(row.question, len(numbers)) for row in rows], dtype=np.int64)
    train, held = split_places(question, list(numbers), fraction, seed, limit)
    return Split([rows[i] for i in train], [rows[i] for i in held])


@torch.no_grad()
def evaluate(
    reader: TagReader, rows: EncodedRows, *, loss: Loss, batch_tokens: int, pad_id: int
) -> Evaluation:
    """Mean loss over all rows, and scores; the model must be in eval mode."""
    scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows.rows)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    questions: list[str] = []
    for batch in fixed_batches(rows.lengths, batch_tokens):
        # Every kept step is read, labelled or not, so that scores stand beside all steps of the row.
        part = [rows.rows[i] for i in batch]
        ids, _, targets = collate(part, pad_id)
        length = ids.shape[1]
        every = np.concatenate([row.tags.astype(np.int64) + i * length for i, row in enumerate(part)])
        known = np.concatenate([np.isfinite(row.labels) for row in part])
        hidden = reader.hidden(ids.to(reader.device), torch.from_numpy(every).to(reader.device))
        good = reader.pair_logits(hidden).softmax(-1)[:, 0].cpu().numpy()
        values = loss.values(reader, hidden[torch.from_numpy(known).to(reader.device)])
        found.append((values.cpu(), targets))
        questions += questions_of(part)
        start = 0
        for i, row in zip(batch, part, strict=True):
            scores[i] = good[start : start + len(row.tags)]
            start += len(row.tags)
    values, targets = (torch.cat(each) for each in zip(*found, strict=True))
    return Evaluation(float(loss.losses(values, targets, questions).double().mean()), scores)


def calibrate(
    rows: EncodedRows, scores: Sequence[NDArray[np.float32]], fitted_on: str
) -> dict[str, Any] | None:
    """Calibrations fitted on the labelled steps of held-out rows, as ``verifier.json`` keeps them.

    Args:
        rows: held-out rows; what they were not trained to say is not fitted (an outcome head's single steps).
        scores: P(+) at every kept step of each row.
        fitted_on: what the file says of the data.

    Returns:
        None without held-out rows, or without both classes.
    """
    if not rows.rows:
        return None
    labels = np.concatenate([row.labels for row in rows.rows])
    found, known = np.concatenate(list(scores)).astype(np.float64), np.isfinite(labels)
    about = {
        "data": fitted_on,
        "problems": len({row.row.question.strip() for row in rows.rows}),
        "rows": len(rows.rows),
        "steps": int(known.sum()),
    }
    fitted = calibration.fit(found[known], labels[known] >= THRESHOLD, about)
    return None if fitted is None else fitted.to_json()


def measure(
    rows: EncodedRows, scores: Sequence[NDArray[np.float32]], head: HeadKind = "lm"
) -> dict[str, Any]:
    """Metrics of the ruler on the steps that were kept.

    An outcome head is judged on solutions first; its step metrics are those of its values of prefixes.
    """
    kept = [
        StepRow(
            question=row.row.question,
            steps=row.row.steps[: len(row.labels)],
            labels=row.row.labels[: len(row.labels)],
            source=row.row.source,
            id=row.row.id,
        )
        for row in rows.rows
    ]
    lists = [each.tolist() for each in scores]
    if head == "outcome":
        right = [is_right(row) for row in rows.rows]
        steps = step_metrics(kept, lists, correct=right, how="last").to_json()
        return {**solution_metrics(kept, lists, right, "last"), **steps}
    # A row that lost its last steps is still a right or a wrong solution.
    right = [all(label >= THRESHOLD for label in row.row.labels if label is not None) for row in rows.rows]
    return step_metrics(kept, lists, correct=right).to_json()
