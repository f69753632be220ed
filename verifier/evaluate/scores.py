"""Step scores of labelled rows: from a verifier into ``scores.jsonl``, a line a row, or from a file.

Rows are scored in fixed chunks, as pools are (`verifier.pools`): a run that was stopped goes on and writes
the same bytes. The steps are those of the row; no text is cut into steps anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from shepherd.console import progress
from shepherd.errors import ShepherdError, at
from shepherd.files import append_line, open_to_append, read_finished, read_jsonl
from shepherd.shelf import NOWHERE, Shelf, tell
from verifier.evaluate.rows import NamedRow

Scores = list[list[float]]


class StepScorer(Protocol):
    """What scores rows."""

    @property
    def id(self) -> str:
        """Short hash of all that decides a score."""
        ...

    def score_steps(self, pairs: Sequence[tuple[str, Sequence[str]]], batch_tokens: int) -> Scores:
        """P(step is correct) of every step of every (question, steps)."""
        ...


def score_rows(
    verifier: StepScorer,
    rows: Sequence[NamedRow],
    path: Path,
    *,
    chunk: int,
    batch_tokens: int,
    shelf: Shelf = NOWHERE,
) -> Scores:
    """Append the missing lines of `path`, and give the scores of all rows.

    Args:
        verifier: the verifier.
        rows: in the order of the lines.
        path: the scores file; lines that are there already are kept.
        chunk: rows scored together.
        batch_tokens: most tokens in one forward pass, padding included, where memory has room for them.
        shelf: where this verifier's scores are kept.
    """
    found = _finished(path, rows, verifier.id)
    done, kept = len(found), 0
    if done == len(rows):
        return found
    with (
        open_to_append(path) as handle,
        progress("scoring", len(rows), "rows", done) as bar,
    ):
        for start in range(done - done % chunk, len(rows), chunk):
            part = rows[start : start + chunk]
            pairs = [(each.judged.row.question, list(each.judged.row.steps)) for each in part]
            named = [{"question": question, "candidates": 1, "row": True} for question, _ in pairs]
            values = shelf.read({"rows": pairs}, named)
            if values is None:
                scored = verifier.score_steps(pairs, batch_tokens)
                shelf.write({"rows": pairs}, named, [{"step_scores": [each]} for each in scored])
            else:
                kept += len(part)
                scored = [
                    _checked(value["step_scores"][0], each) for value, each in zip(values, part, strict=True)
                ]
            for index, (each, mine) in enumerate(zip(part, scored, strict=True), start):
                if index >= done:
                    line = {"id": each.name, "step_scores": mine, "verifier": verifier.id}
                    append_line(handle, line)
                    found.append(mine)
            bar.advance(start + len(part) - max(start, done))
    if kept:
        tell(f"{kept:,} rows scored by verifier {verifier.id}")
    return found


def read_row_scores(path: str, rows: Sequence[NamedRow]) -> Scores:
    """Read a scores file: by ``id`` where its lines have one, else in the order of the rows.

    Args:
        path: lines ``{"id", "step_scores": [a number a step]}``; lines of other rows are passed over.
        rows: whose scores are wanted; without ids there must be a line for each.

    Raises:
        ShepherdError: with file and line, for a missing row, a repeated id, a number outside [0, 1], or
            another number of scores than steps.
    """
    lines = list(read_jsonl(path))
    if not lines:
        raise ShepherdError(f'{path}: no lines; a scores file has one JSON object a row, with "step_scores"')
    named = {"id" in row for _, row in lines}
    if len(named) == 2:
        line = next(line for line, row in lines if "id" not in row)
        raise at(path, line, 'no "id" field, but other lines have one; give every line an id, or none')
    if named == {False}:
        if len(lines) != len(rows):
            raise ShepherdError(
                f"{path}: {len(lines)} lines without ids for {len(rows)} rows; give a line a row in their "
                'order, or lines with "id"'
            )
        return [_line_scores(row, path, line, each) for (line, row), each in zip(lines, rows, strict=True)]
    by_name: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for line, row in lines:
        name = str(row["id"])
        if name in by_name:
            raise at(path, line, f'id "{name:.60}" was already on line {by_name[name][0]}; ids must differ')
        by_name[name] = line, row
    missing = [each.name for each in rows if each.name not in by_name]
    if missing:
        shown = ", ".join(f'"{each:.60}"' for each in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise ShepherdError(
            f"{path}: no scores for {len(missing)} of {len(rows)} rows ({shown}); a row is found by its id, "
            "or by its number from 0 where it has none"
        )
    return [_line_scores(by_name[each.name][1], path, by_name[each.name][0], each) for each in rows]


def _line_scores(row: Mapping[str, Any], path: str, line: int, of: NamedRow) -> list[float]:
    scores, steps = row.get("step_scores"), len(of.judged.row.steps)
    if not isinstance(scores, list):
        raise at(path, line, 'no "step_scores" list; a line is {"id": …, "step_scores": [a number a step]}')
    if len(scores) != steps:
        raise at(path, line, f'{len(scores)} step scores, but row "{of.name:.60}" has {steps} steps')
    for step, score in enumerate(scores):
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not (is_number and math.isfinite(score) and 0 <= score <= 1):
            raise at(path, line, f"step_scores[{step}] must be in [0, 1], found {score!r:.40}")
    return [float(each) for each in scores]


def _checked(scores: Any, row: NamedRow) -> list[float]:
    return _line_scores({"step_scores": scores}, f"store, {row.name}", 1, row)


def _finished(path: Path, rows: Sequence[NamedRow], verifier_id: str) -> Scores:
    """The scores that are there already; they must be the first rows' and this verifier's."""
    found = []
    for line, row in enumerate(read_finished(path), start=1):
        expected = rows[line - 1].name if line <= len(rows) else None
        if row.get("id") != expected or row.get("verifier") != verifier_id:
            raise ShepherdError(
                f"{path}:{line}: scores of {row.get('id')!r} by verifier {row.get('verifier')!r}, expected "
                f"{expected!r} by {verifier_id!r}; rows or verifier have changed, start a new run"
            )
        found.append(_line_scores(row, str(path), line, rows[line - 1]))
    return found
