"""Where problems come from: ``gsm8k`` (the hub), a file, a folder of splits.

``embedded`` means two things. Problems to answer are drawn from the small world by `generation`; the problems
that training must not have seen are those of the packaged pool, which are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from shepherd.assets import asset
from shepherd.errors import ShepherdError, at
from shepherd.files import STDIN
from shepherd.hub import load_rows
from shepherd.problems.files import find_file, read_objects
from shepherd.problems.shapes import Row, parse_problem, question_of
from shepherd.records import Problem

Split = Literal["train", "validation", "test"]

GSM8K = "gsm8k"
"""The name that stands for the set on the hub."""
EMBEDDED = "embedded"
_GSM8K_HUB = ("openai/gsm8k", "main")
_GSM8K_REMEDY = (
    "put {split}.jsonl (github.com/openai/grade-school-math, grade_school_math/data) into a folder and "
    "give the folder in place of gsm8k, as in: shepherd generate --problems FOLDER"
)


def read(source: str, split: Split = "test", limit: int | None = None) -> list[Problem]:
    """Read the first ``limit`` problems of a source (all, if None).

    Args:
        source: ``"gsm8k"``, a file in any shape of `shepherd.problems.shapes` (``"-"`` is standard input),
            or a folder with a file a split.
        split: of GSM8K and of a folder; a file is one split.
        limit: problems to read.

    Raises:
        ShepherdError: with file and line; in one line where the hub cannot be reached.
    """
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    where, rows = _rows(source, split)
    for line, row in rows:
        if limit is not None and len(problems) >= limit:
            break
        problem = parse_problem(row, where, line)
        if problem.id in first_line:
            raise at(
                where,
                line,
                f'id "{problem.id}" was already on line {first_line[problem.id]}; ids must differ',
            )
        first_line[problem.id] = line
        problems.append(problem)
    if not problems and limit != 0:
        raise no_lines(where)
    return problems


def read_raw(source: str, split: Split = "test") -> Iterator[tuple[int, Row]]:
    """The rows of a source as they are, with their lines; arguments as for `read`."""
    return _rows(source, split)[1]


def no_lines(where: str) -> ShepherdError:
    """The error for a source without problems."""
    return ShepherdError(
        f'{where}: no lines; a problem file has one JSON object a line, with "question" and "answer"'
    )


def read_questions(source: str, split: Split = "test") -> dict[str, int]:
    """The questions of a source with the line each first stands on; any row with a question will do.

    ``"embedded"`` is the packaged pool.
    """
    found: dict[str, int] = {}
    where, rows = _rows(str(asset("pool")) if source == EMBEDDED else source, split)
    for line, row in rows:
        found.setdefault(question_of(row, where, line), line)
    return found


def files_of(source: str, split: Split = "test") -> list[Path]:
    """The files a source is read from; none for the hub, whose files the cache names by their content."""
    return [] if source in (GSM8K, EMBEDDED, STDIN) else [find_file(source, split)]


def _rows(source: str, split: Split) -> tuple[str, Iterator[tuple[int, Row]]]:
    """What a source is called in an error, and its rows with their lines."""
    if source == GSM8K:
        rows = load_rows(*_GSM8K_HUB, split, remedy=_GSM8K_REMEDY.format(split=split))
        return f"{_GSM8K_HUB[0]} ({split})", enumerate(rows, start=1)
    path = find_file(source, split)
    return "standard input" if source == STDIN else str(path), read_objects(path)
