"""Rows to train on, the steps they are trained in, and what those steps have to read at least.

Two kinds of steps: whole questions, so many solutions of each, side by side, which is what sharing a question
is worth most for (`plan`); and those of the trainer's own plans, as a user gets them (`planned`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from eval.grading import grade
from generation import foreign
from shepherd.files import write_jsonl
from shepherd.records import StepRow
from shepherd.steps import split
from verifier.batches import EncodedRow, fixed_batches
from verifier.config import HeadKind, TrainPrmConfig
from verifier.data.rows import read_rows
from verifier.packing.passes import Padded, Work
from verifier.packing.tree import lay_out
from verifier.prepare import Prepared, prepare

GroupBy = Literal["none", "question"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
Rows = NDArray[np.int64]

MAX_LENGTH = 512
LEARNING_RATE = 1e-3
QUESTIONS = 60
"""Looked at for whole questions; many more than the steps need, since some have too few solutions."""
PLANNED_QUESTIONS = 2000
"""Rows of so many are put in order by the trainer's plans: a few would meet again in every step."""
ROWS_A_STEP = 32
"""Of those plans: what `configs/train_prm/embedded.yaml` has in a step, in the mean."""


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
        padded: tokens in the passes of our trainer where it does not pack.
        unique: distinct prefixes of a step: what has to be read at least.
        pairs: of a token and one on its own path, over the unique tokens.
    """

    rows: int
    tags: int
    own: int
    padded: int
    unique: int
    pairs: int

    @property
    def padded_over_unique(self) -> float:
        """The most that packing can gain."""
        return self.padded / self.unique

    def floor(self, work: Work, head: float) -> float:
        """Operations that no exact trainer can do without: forward, and backward through frozen weights.

        Args:
            work: of a forward pass.
            head: of a tag, forward and backward.
        """
        return self.unique * 2 * work.token + self.pairs * 3 * work.pair + self.tags * head


def find_rows(name: str, questions: int = QUESTIONS) -> list[StepRow] | None:
    """Labelled rows of a source; None where its files are not at hand (``SHEPHERD_DATA``).

    Rows of SubQ have the verdict on their final answer at every step: what a step is labelled changes no
    time and no byte.

    Args:
        name: of the source.
        questions: whose rows are wanted, about.
    """
    if name == "packaged":
        found = read_rows("embedded")[0]  # shuffled: a question's rows stand all over the file
        first = set(dict.fromkeys(row.question for row in found[:questions]))
        return [row for row in found if row.question in first]
    data = os.environ.get("SHEPHERD_DATA")
    if not data:
        return None
    if name == "Math-Shepherd":
        file = Path(data) / "math_shepherd" / "openr_samples_math-shepherd.jsonl"
        return read_rows(str(file))[0]
    pools = foreign.read(str(Path(data) / "candidates" / "subq_chatgpt_n13.jsonl.gz"), "subq").pools
    rows = []
    for pool in pools[:questions]:
        for candidate, right in zip(pool.candidates, grade(pool, "subq").right, strict=True):
            steps = split(candidate.text).steps
            if steps:
                rows.append(StepRow(pool.problem.question, steps, (float(right),) * len(steps)))
    return rows


def plan(
    name: str, given: Sequence[StepRow], base: Path, folder: Path, head: HeadKind, steps: int, seed: int
) -> Prepared:
    """A plan of so many steps of whole questions, each step one batch.

    Args:
        name: of the source.
        given: its rows.
        base: model folder.
        folder: for the file of rows.
        head: ``lm`` (loss over the vocabulary) or ``classifier``.
        steps: optimizer steps, one forward pass each; fewer where the rows end.
        seed: of adapter and head.
    """
    prepared = prepare(
        _config(name, given, base, folder, seed).model_copy(
            update={"head": head, "loss": "vocab" if head == "lm" else "pair", "batch_tokens": 1 << 20}
        )
    )
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
    return _with_steps(prepared, [parts[at % len(parts)] for at in range(steps)])


def planned(
    name: str,
    given: Sequence[StepRow],
    base: Path,
    folder: Path,
    group_by: GroupBy,
    steps: int,
    seed: int,
    size: int = ROWS_A_STEP,
) -> Prepared:
    """The first steps of the trainer's own plan that have `size` rows, passes as large as its default.

    Args:
        name: of the source.
        given: its rows.
        base: model folder.
        folder: for the file of rows.
        group_by: how the plan orders rows.
        steps: optimizer steps.
        seed: of plan and adapter.
        size: rows a step.
    """
    config = _config(name, given, base, folder, seed)
    prepared = prepare(config.model_copy(update={"group_by": group_by, "batch_solutions": size}))
    full = [batch for batch in prepared.plan if len(batch) == size]
    return _with_steps(prepared, full[:steps])


def _config(name: str, given: Sequence[StepRow], base: Path, folder: Path, seed: int) -> TrainPrmConfig:
    """What all trainings here have in common."""
    file = folder / f"{name}.rows.jsonl"
    write_jsonl(file, (row.to_json() for row in given))
    return TrainPrmConfig(
        base=str(base),
        data=str(file),
        allow_contamination=True,  # what is measured here is time, on test questions
        quantization="none",
        device="cpu",
        lora={"rank": 16, "alpha": 32, "targets": "all-linear"},
        learning_rate=LEARNING_RATE,
        warmup_ratio=0.0,
        scheduler="constant",
        max_length=MAX_LENGTH,
        eval_fraction=0.0,
        tensorboard=False,
        seed=seed,
        store=False,
    )


def _with_steps(prepared: Prepared, parts: Sequence[Rows]) -> Prepared:
    """A plan of these steps, longest rows last: what a rival cuts into batches has the least padding then."""
    lengths = prepared.train.lengths
    steps = [part[np.argsort(lengths[part], kind="stable")] for part in parts]
    return replace(prepared, plan=steps, steps=len(steps))


def rows_of(prepared: Prepared) -> list[list[EncodedRow]]:
    """The rows of every step, in order."""
    return [[prepared.train.rows[index] for index in part] for part in prepared.plan]


def questions_a_step(prepared: Prepared) -> float:
    """Different questions in a step, in the mean."""
    return float(np.mean([len(set(prepared.train.questions[part])) for part in prepared.plan]))


def batches_of(prepared: Prepared, size: int) -> list[Padded]:
    """The batches that a rival cuts the steps into."""
    return [
        Padded(tuple(range(len(batch))), max(len(row.ids) for row in batch))
        for part in rows_of(prepared)
        for batch in (part[at : at + size] for at in range(0, len(part), size))
    ]


def count(prepared: Prepared) -> Counts:
    """What the steps hold."""
    found, most = np.zeros(6, dtype=np.int64), prepared.config.tokens_a_pass(prepared.config.device)
    for part in rows_of(prepared):
        ids = [row.ids for row in part]
        lengths = np.array([len(each) for each in ids])
        tree = lay_out(ids, budget=1 << 62)
        found += [
            len(part),
            sum(len(row.tags) for row in part),
            lengths.sum(),
            sum(len(batch) * lengths[batch].max() for batch in fixed_batches(lengths, most)),
            sum(map(len, tree)),
            sum(int(np.sum(row.positions + 1)) for row in tree),
        ]
    return Counts(*map(int, found))
