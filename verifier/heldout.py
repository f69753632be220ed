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
from verifier.batches import EncodedRows, questions_of
from verifier.config import HeadKind
from verifier.loss import Loss
from verifier.model import TagReader
from verifier.outcome import is_right
from verifier.packing.read import passes_for, read_pass
from verifier.split import split_places

_PLANNED_TOGETHER = 512
"""Rows: a question's stand together, so that little is read twice."""


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
    """Mean loss over all rows, and scores; the model must be in eval mode.

    Args:
        reader: body and head.
        rows: held-out rows, those of a question together.
        loss: whose mean is taken.
        batch_tokens: most tokens in a pass.
        pad_id: any token; nothing reads it.
    """
    scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(rows.rows)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    questions: list[str] = []
    for first in range(0, len(rows.rows), _PLANNED_TOGETHER):
        part = rows.rows[first : first + _PLANNED_TOGETHER]
        # Every kept step is read, labelled or not, so that scores stand beside all steps of the row.
        sequences, tags = [row.ids for row in part], [row.tags for row in part]
        for each in passes_for(reader, sequences, batch_tokens):
            hidden = read_pass(reader, each, sequences, tags, pad_id)
            good = reader.pair_logits(hidden).softmax(-1)[:, 0].cpu().numpy()
            members = [part[member] for member in each.members]
            labels = torch.from_numpy(np.concatenate([row.labels for row in members]))
            known = labels.isfinite()
            found.append((loss.values(reader, hidden[known.to(reader.device)]).cpu(), labels[known]))
            questions += questions_of(members)
            ends = np.cumsum([len(row.tags) for row in members])
            for member, mine in zip(each.members, np.split(good, ends[:-1]), strict=True):
                scores[first + member] = mine
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
