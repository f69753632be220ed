"""Rows that step scores are judged on: every shape of `verifier.data`, and two that nobody trains on.

- ProcessBench (arXiv 2412.06559): ``problem``, ``steps``, ``label``: the 0-based first wrong step, or -1
  where all are right; ``final_answer_correct``. Steps before the first error are right, it is wrong, and what
  follows is unlabelled: nobody judged it.
- BIG-Bench-Mistake (arXiv 2311.08516): ``input``, ``steps``, ``mistake_index``: 0-based, or null where there
  is no mistake; read by the same rule. ``answer`` and ``target`` say whether the final answer is right.

Any row may have ``final_answer_correct``. They are benchmarks, so `shepherd train-prm` does not read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from eval.judged import JudgedRow
from shepherd.answers import extract
from shepherd.assets import asset
from shepherd.errors import ShepherdError, at
from shepherd.hub import fetch_files
from shepherd.problems.files import read_objects
from shepherd.records import StepRow
from verifier.data.math_shepherd import BadRowError
from verifier.data.parse import check_row, parse_line
from verifier.data.prm800k import Neutral
from verifier.data.rows import OnBadRow, RowCounts, Skipped, refuse_bad_rows
from verifier.data.sources import locate

EMBEDDED = "embedded"
_PROCESSBENCH = ("gsm8k", "math", "olympiadbench", "omnimath")


class _Shape(NamedTuple):
    """A shape that labels the first error alone."""

    question: str
    first_error: str
    clean: int | None


_SHAPES = (_Shape("problem", "label", -1), _Shape("input", "mistake_index", None))


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row under the name that its scores are found by: its id, or its number; unique in what was read."""

    name: str
    judged: JudgedRow


def read_judged(
    source: str, *, on_bad_row: OnBadRow = "error", limit: int | None = None, neutral: Neutral = "good"
) -> tuple[list[JudgedRow], RowCounts]:
    """Read rows with step labels.

    Args:
        source: ``embedded`` (rows of the embedded world's test problems, by its exact checker),
            ``processbench-gsm8k``, ``-math``, ``-olympiadbench`` or ``-omnimath`` (from the hub), or what
            `verifier.data.sources.locate` knows.
        on_bad_row: what to do with labels that do not fit the steps.
        limit: the first so many rows.
        neutral: label of a PRM800K step rated 0.

    Raises:
        ShepherdError: with file and line.
    """
    counts = RowCounts(source)
    rows: list[JudgedRow] = []
    for path in files_of(source):
        for line, judged in _rows_of(path, neutral, counts):
            if limit is not None and len(rows) >= limit:
                break
            rows.append(judged)
            counts.questions.setdefault(judged.row.question, line)
        if on_bad_row == "error":
            refuse_bad_rows(path, counts.skipped)
    counts.kept = len(rows)
    if not rows:
        raise ShepherdError(f"{source}: no usable row among {counts.read} ({counts.to_json()['skipped']})")
    return rows, counts


def files_of(source: str) -> list[str]:
    """The files that `read_judged` reads.

    Raises:
        ShepherdError: where there is none, or the hub cannot be reached.
    """
    if source == EMBEDDED:
        return [str(asset("test-rows"))]
    subset = source.removeprefix("processbench-")
    if subset == source or subset not in _PROCESSBENCH:
        return locate(source)
    remedy = (
        f"download {subset}.json of huggingface.co/datasets/Qwen/ProcessBench where there is a network, and "
        "give it: shepherd eval-steps FILE"
    )
    return [str(path) for path in fetch_files("Qwen/ProcessBench", (f"{subset}.json",), remedy=remedy)]


def name_rows(rows: Sequence[JudgedRow]) -> list[NamedRow]:
    """Names for rows: the id where a row has one that no row before it has, else its number from 0.

    Example:
        >>> from shepherd.records import StepRow
        >>> rows = [JudgedRow(StepRow("q", ("s",), (1.0,), id=each)) for each in ("a", "", "a")]
        >>> [row.name for row in name_rows(rows)]
        ['a', '1', 'a#2']
    """
    named, seen = [], set()
    for number, judged in enumerate(rows):
        name = judged.row.id or str(number)
        while name in seen:
            name = f"{name}#{number}"
        seen.add(name)
        named.append(NamedRow(name, judged))
    return named


def _rows_of(path: str, neutral: Neutral, counts: RowCounts) -> Iterator[tuple[int, JudgedRow]]:
    for line, data in read_objects(Path(path)):
        counts.read += 1
        shape = next((each for each in _SHAPES if {each.question, each.first_error} <= data.keys()), None)
        try:
            if shape is not None:
                yield line, _first_error_row(data, shape, path, line)
                continue
            parsed = parse_line(data, path, line, neutral)
        except BadRowError as bad:
            counts.skipped.append(Skipped(line, bad.kind, bad.reason))
            continue
        right = _verdict(data, path, line)
        for row, oddities in parsed:
            counts.oddities.update(oddities)
            identity = row.id or str(data.get("id") or "")
            yield line, JudgedRow(replace(row, id=identity), right)


def _first_error_row(data: Mapping[str, Any], shape: _Shape, where: str, line: int) -> JudgedRow:
    """A row of which the first wrong step is known, and nothing after it."""
    steps, bad = data.get("steps"), data[shape.first_error]
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise at(where, line, f'"steps" must be a list of texts, found {steps!r:.40}')
    is_index = isinstance(bad, int) and not isinstance(bad, bool) and 0 <= bad < len(steps)
    if bad != shape.clean and not is_index:
        raise BadRowError(
            "wrong_index",
            f"{shape.first_error} is {bad!r:.20}, expected a step from 0 to {len(steps) - 1}, or "
            f"{'null' if shape.clean is None else shape.clean} where all are right",
        )
    labels = [1.0] * len(steps) if bad == shape.clean else [1.0] * bad + [0.0]
    unknown = len(steps) - len(labels)
    row = StepRow.from_json(
        {
            "question": data[shape.question],
            "steps": [step.strip() for step in steps],
            "labels": [*labels, *[None] * unknown],
            "source": str(data.get("generator") or ""),
            "id": str(data.get("id") or ""),
        },
        where,
        line,
    )
    check_row(row)
    return JudgedRow(row, _verdict(data, where, line))


def _verdict(data: Mapping[str, Any], where: str, line: int) -> bool | None:
    """Is the final answer right? None where the row does not say."""
    said = data.get("final_answer_correct")
    if said is not None:
        if not isinstance(said, bool):
            raise at(where, line, f'"final_answer_correct" must be true, false or null, found {said!r:.40}')
        return said
    answer, target = data.get("answer"), data.get("target")
    if isinstance(answer, str) and isinstance(target, str) and "mistake_index" in data:
        exact, gold = extract(answer, "gold"), extract(target, "gold")
        return exact == gold if exact is not None and gold is not None else answer.strip() == target.strip()
    return None
