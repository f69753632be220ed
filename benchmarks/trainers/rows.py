"""Rows to train on, the steps they are trained in, and what those steps have to read at least.

A step holds whole questions: so many solutions of each, side by side. That is what the shared prefix of a
question is worth something for, and what a trainer that keeps a question's rows together gives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.grading import grade
from generation import foreign
from shepherd.files import write_jsonl
from shepherd.records import StepRow
from shepherd.steps import split
from verifier.batches import EncodedRow
from verifier.config import TrainPrmConfig
from verifier.data.rows import read_rows
from verifier.packing.tree import lay_out
from verifier.prepare import Prepared, prepare

MAX_LENGTH = 512
LEARNING_RATE = 1e-3
QUESTIONS = 60
"""Looked at; many more than the steps need, since some have too few solutions."""


class Source(NamedTuple):
    """Rows of one origin.

    Attributes:
        vocabulary: ``mistral`` or ``embedded``.
        solutions: of each question in a step.
        questions: in a step.
    """

    vocabulary: str
    solutions: int
    questions: int


SOURCES = {
    "SubQ": Source("mistral", 12, 1),
    "packaged": Source("embedded", 8, 2),
    "Math-Shepherd": Source("mistral", 1, 7),
}
"""12 solutions each of GSM8K questions, 8 each of the embedded world's, and the seven rows of Math-Shepherd
itself that are at hand, of seven questions: nothing is shared there but a first token."""


class Counts(NamedTuple):
    """Tokens of the rows of all steps.

    Attributes:
        rows: how many.
        tags: supervised steps.
        own: tokens of all rows, no padding.
        padded: rows as long as the longest of their step.
        unique: distinct prefixes of a step: what has to be read at least.
    """

    rows: int
    tags: int
    own: int
    padded: int
    unique: int


def find_rows(name: str) -> list[StepRow] | None:
    """Labelled rows of a source; None where its files are not at hand (``SHEPHERD_DATA``).

    Rows of SubQ have the verdict on their final answer at every step: what a step is labelled changes no
    time and no byte.
    """
    if name == "packaged":
        found = read_rows("embedded")[0]  # shuffled: a question's rows stand all over the file
        first = set(dict.fromkeys(row.question for row in found[:QUESTIONS]))
        return [row for row in found if row.question in first]
    data = os.environ.get("SHEPHERD_DATA")
    if not data:
        return None
    if name == "Math-Shepherd":
        file = Path(data) / "math_shepherd" / "openr_samples_math-shepherd.jsonl"
        return read_rows(str(file))[0]
    pools = foreign.read(str(Path(data) / "candidates" / "subq_chatgpt_n13.jsonl.gz"), "subq").pools
    rows = []
    for pool in pools[:QUESTIONS]:
        for candidate, right in zip(pool.candidates, grade(pool, "subq").right, strict=True):
            steps = split(candidate.text).steps
            if steps:
                rows.append(StepRow(pool.problem.question, steps, (float(right),) * len(steps)))
    return rows


def plan(
    name: str, rows: Sequence[StepRow], base: Path, folder: Path, head: str, steps: int, seed: int
) -> Prepared:
    """What the trainer is told: the rows, and steps of whole questions; rows that are too long are left out.

    Args:
        name: of the source.
        rows: its rows.
        base: model folder.
        folder: for the file of rows.
        head: ``lm`` (loss over the vocabulary) or ``classifier``.
        steps: optimizer steps, one forward pass each; fewer where the rows end.
        seed: of adapter and head.
    """
    file = folder / f"{name}.rows.jsonl"
    write_jsonl(file, (row.to_json() for row in rows))
    config = TrainPrmConfig(
        base=str(base),
        data=str(file),
        allow_contamination=True,  # what is measured here is time, on test questions
        quantization="none",
        device="cpu",
        lora={"rank": 16, "alpha": 32, "targets": "all-linear"},
        head=head,
        loss="vocab" if head == "lm" else "pair",
        learning_rate=LEARNING_RATE,
        warmup_ratio=0.0,
        scheduler="constant",
        max_length=MAX_LENGTH,
        batch_tokens=1 << 20,
        eval_fraction=0.0,
        tensorboard=False,
        seed=seed,
    )
    prepared = prepare(config)
    source = SOURCES[name]
    of: dict[str, list[int]] = {}
    for index, row in enumerate(prepared.train.rows):
        if len(row.tags) == len(row.row.steps):  # nothing was cut off
            of.setdefault(row.row.question, []).append(index)
    whole = [each[: source.solutions] for each in of.values() if len(each) >= source.solutions]
    parts = [
        np.concatenate([np.array(each, dtype=np.int64) for each in whole[at : at + source.questions]])
        for at in range(0, len(whole) - source.questions + 1, source.questions)
    ]
    # Seven rows are a step of their own, again and again.
    taken = [parts[at % len(parts)] for at in range(steps)]
    # Longest last: what a rival cuts into batches has the least padding then.
    lengths = prepared.train.lengths
    taken = [part[np.argsort(lengths[part], kind="stable")] for part in taken]
    return replace(prepared, plan=taken, steps=steps)


def rows_of(prepared: Prepared) -> list[list[EncodedRow]]:
    """The rows of every step, in order."""
    return [[prepared.train.rows[index] for index in part] for part in prepared.plan]


def count(prepared: Prepared) -> Counts:
    """What the steps hold."""
    found = np.zeros(5, dtype=np.int64)
    for part in rows_of(prepared):
        ids = [row.ids for row in part]
        lengths = [len(each) for each in ids]
        found += [
            len(part),
            sum(len(row.tags) for row in part),
            sum(lengths),
            max(lengths) * len(part),
            sum(map(len, lay_out(ids, budget=1 << 62))),
        ]
    return Counts(*map(int, found))
