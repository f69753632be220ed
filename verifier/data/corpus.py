"""Training rows as columns: step labels, question numbers, and texts that are read only when asked for.

Rows are streamed into columns, so that no Python object stays behind for each; read once, they are kept in
the store (`shepherd.columns`) under the content of their files and all that decides how they are read. What
is done with them later (what is held out, what is too long, how labels are used) is no part of that key:
it is arithmetic on the columns.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shepherd.columns import Kept, Writer, columns_of, find
from shepherd.entries import digest
from shepherd.files import STDIN, sha256_file
from shepherd.records import StepRow
from shepherd.steps import prompt, render
from verifier.data import cache
from verifier.data.prm800k import Neutral
from verifier.data.rows import OnBadRow, RowCounts, Skipped, iter_rows
from verifier.data.sources import locate

KEPT_BYTES = 1 << 20
"""Files of less than this together are read again: they take a second."""

RECIPE = 1
"""To be raised when the same rows would get other columns; the parser has a number of its own."""

_PIECE = 8192
_READ_BY = frozenset({".gz", ".xz", ".parquet"})  # suffixes that decide how a file is read


@dataclass(frozen=True, slots=True)
class Corpus:
    """Rows as columns; row i has the steps ``step_ends[i]`` to ``step_ends[i + 1]``.

    Attributes:
        counts: what the files held; ``counts.questions`` has the questions by number.
        question: number of each row's question, in order of first appearance; shape ``(rows,)``.
        step_ends: where each row's steps end, after a leading 0; shape ``(rows + 1,)``.
        labels: of every step, in [0, 1], NaN where unknown; float64, shape ``(steps,)``.
        characters: of question and steps up to each step's end, as a verifier reads them; shape ``(steps,)``.
        texts: JSON of each row's steps, source and id; bytes.
        text_ends: where each row's JSON ends, after a leading 0; shape ``(rows + 1,)``.
        id: hash of all that decides the columns; None where nobody knows it.
        is_kept: they came from the store.
    """

    counts: RowCounts
    questions: Sequence[str]
    question: NDArray[np.int64]
    step_ends: NDArray[np.int64]
    labels: NDArray[np.float64]
    characters: NDArray[np.int32]
    texts: NDArray[np.uint8]
    text_ends: NDArray[np.int64]
    id: str | None = None
    is_kept: bool = False

    def __len__(self) -> int:
        """Rows."""
        return len(self.question)

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps a row; shape ``(rows,)``."""
        return np.diff(self.step_ends)

    def row(self, index: int, labels: NDArray[np.float64] | None = None) -> StepRow:
        """One row, from its text; with other labels of the whole corpus in place of its own."""
        texts = json.loads(self.texts[self.text_ends[index] : self.text_ends[index + 1]].tobytes())
        steps, source, identity = texts
        start, end = self.step_ends[index], self.step_ends[index + 1]
        values = (self.labels if labels is None else labels)[start:end].tolist()
        known = tuple(None if value != value else value for value in values)
        return StepRow(self.questions[self.question[index]], tuple(steps), known, source, identity)


def read_corpus(
    source: str,
    *,
    on_bad_row: OnBadRow = "error",
    dedup: bool = False,
    limit: int | None = None,
    neutral: Neutral = "good",
    keep: bool = True,
) -> Corpus:
    """Read training rows, from the store if they are there; arguments and errors as for `read_rows`.

    Args:
        keep: look into the store, and keep there what is read from files of at least `KEPT_BYTES`.
    """
    files = locate(source)
    rules = {"on_bad_row": on_bad_row, "dedup": dedup, "limit": limit, "neutral": neutral}
    key = _key(files, rules) if keep else None
    found = find("rows", key)
    if found is not None:
        return _corpus(found, source, key, is_kept=True)

    def fill(writer: Writer) -> dict[str, Any]:
        counts = RowCounts(source)
        is_kept = key is not None
        rows = iter_rows(
            source,
            counts,
            on_bad_row=on_bad_row,
            dedup=dedup,
            limit=limit,
            neutral=neutral,
            keep_parsed=not is_kept,
        )
        write_rows(writer, rows)
        return _about(counts)

    return _corpus(columns_of("rows", key, _label(source), fill), source, key)


def corpus_of(rows: Sequence[StepRow]) -> Corpus:
    """The columns of rows that are at hand; nothing is kept.

    Example:
        >>> corpus = corpus_of([StepRow("q", ("a", "b"), (1.0, None)), StepRow("q", ("c",), (0.5,))])
        >>> corpus.labels.tolist(), corpus.question.tolist(), corpus.row(1).steps
        ([1.0, nan, 0.5], [0, 0], ('c',))
    """
    counts = RowCounts(read=len(rows), kept=len(rows))
    for line, row in enumerate(rows, start=1):
        counts.questions.setdefault(row.question, line)
    writer = Writer(None)
    write_rows(writer, rows)
    return _corpus(writer.kept_in_memory(_about(counts)), "", None)


def write_rows(writer: Writer, rows: Iterable[StepRow]) -> None:
    """Stream rows into the columns of a `Corpus`."""
    numbers: dict[str, int] = {}
    columns = _Pieces(writer)
    columns.begin()
    for row in rows:
        columns.add(row, numbers.setdefault(row.question, len(numbers)))
    columns.flush()


class _Pieces:
    """Gathers the numbers of some thousand rows, then hands them on."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._rows = 0
        self._step_end = self._text_end = 0
        self._clear()

    def _clear(self) -> None:
        self._question, self._step_ends, self._text_ends = array("q"), array("q"), array("q")
        self._labels, self._characters, self._texts = array("d"), array("i"), bytearray()

    def begin(self) -> None:
        """Every column is there, even of no rows; ends begin with 0."""
        self._step_ends.append(0)
        self._text_ends.append(0)
        self.flush()

    def add(self, row: StepRow, question: int) -> None:
        """One row more."""
        text = json.dumps([row.steps, row.source, row.id], separators=(",", ":")).encode()
        self._texts += text
        self._text_end += len(text)
        self._step_end += len(row.steps)
        self._question.append(question)
        self._text_ends.append(self._text_end)
        self._step_ends.append(self._step_end)
        self._labels.extend([np.nan if label is None else label for label in row.labels])
        end = len(prompt(row.question)) - 1  # of the line ends between steps there is one less than steps
        for line in render(row.steps).split("\n") if row.steps else ():
            end += len(line) + 1
            self._characters.append(end)
        self._rows += 1
        if self._rows % _PIECE == 0:
            self.flush()

    def flush(self) -> None:
        """Hand on what was gathered."""
        add = self._writer.add
        add("question", np.frombuffer(self._question, np.int64))
        add("step_ends", np.frombuffer(self._step_ends, np.int64))
        add("text_ends", np.frombuffer(self._text_ends, np.int64))
        add("labels", np.frombuffer(self._labels, np.float64))
        add("characters", np.frombuffer(self._characters, np.int32))
        add("texts", np.frombuffer(self._texts, np.uint8))
        self._clear()


def _key(files: Sequence[str], rules: Mapping[str, Any]) -> dict[str, Any] | None:
    """All that decides the columns; None for what is read but once, and for little files."""
    if STDIN in files or sum(Path(file).stat().st_size for file in files) < KEPT_BYTES:
        return None
    contents = [[_how(file), sha256_file(file)] for file in files]
    return {"recipe": [cache.PARSER_VERSION, RECIPE], "files": contents, **rules}


def _how(file: str) -> str:
    suffix = Path(file).suffix
    return suffix if suffix in _READ_BY else ""


def _label(source: str) -> str:
    """The data's name for a human, without the folder it lies in."""
    return Path(source).name if Path(source).is_file() else source


def _about(counts: RowCounts) -> dict[str, Any]:
    return {
        "read": counts.read,
        "kept": counts.kept,
        "duplicates": counts.duplicates,
        "oddities": dict(counts.oddities),
        "skipped": [list(each) for each in counts.skipped],
        "questions": list(counts.questions.items()),
        "questions_kept": len(counts.questions),
        "rows_kept": counts.kept,
    }


def _corpus(kept: Kept, source: str, key: Mapping[str, Any] | None, *, is_kept: bool = False) -> Corpus:
    columns, about = kept
    counts = RowCounts(
        source,
        about["read"],
        about["kept"],
        about["duplicates"],
        Counter(about["oddities"]),
        [Skipped(*each) for each in about["skipped"]],
        dict(about["questions"]),
    )
    return Corpus(
        counts,
        list(counts.questions),
        columns["question"],
        columns["step_ends"],
        columns["labels"],
        columns["characters"],
        columns["texts"],
        columns["text_ends"],
        None if key is None else digest(key),
        is_kept,
    )
