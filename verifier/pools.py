"""Score a candidate pool into ``scores.jsonl``, a line a problem: a killed run goes on where it was.

Problems are scored in fixed chunks. A chunk that a kill cut in half is scored again as a whole, and only
its missing lines are written: each problem is always scored in the same company, so the bytes are the same.
A chunk that the store has is not scored at all. No more than a chunk is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.kinds import CalibrationKind
from eval.scores import Calibration
from shepherd.console import Progress, progress
from shepherd.errors import ShepherdError
from shepherd.files import append_line, iter_finished, open_to_append
from shepherd.records import ProblemPool, ScoreLine
from shepherd.shelf import NOWHERE, Shelf, tell
from verifier.counts import ScoringCounts
from verifier.kept import items_of, read_chunk, write_chunk
from verifier.lazy import LazyVerifier


class Scorer(Protocol):
    """What scores a pool."""

    @property
    def id(self) -> str:
        """Short hash of all that decides a score."""
        ...

    @property
    def counts(self) -> ScoringCounts:
        """What was scored so far."""
        ...

    def score_many(
        self, items: Sequence[tuple[str, Sequence[str]]], batch_tokens: int
    ) -> list[list[list[float]]]:
        """Step scores of every solution of every question, each in [0, 1]."""
        ...


class Pools(Protocol):
    """Problems with their candidates: a list, a part of one, or a `PoolFile`."""

    def __len__(self) -> int:
        """How many problems."""
        ...

    def __iter__(self) -> Iterator[ProblemPool]:
        """The problems, from the first, however often it is asked."""
        ...


def score_pool(
    verifier: Scorer,
    pools: Pools,
    path: Path,
    *,
    chunk: int,
    batch_tokens: int,
    shelf: Shelf = NOWHERE,
    calibration: CalibrationKind = "none",
    calibrate: Calibration | None = None,
) -> dict[str, Any]:
    """Append the missing lines of `path` and say what was scored.

    Args:
        verifier: the verifier.
        pools: problems with their candidates, in the order of the lines.
        path: the scores file; lines that are there already are kept.
        chunk: problems scored together.
        batch_tokens: most tokens in one forward pass, padding included, where memory has room for them.
        shelf: where this verifier's scores are kept, as they are: never calibrated ones.
        calibration: the name of `calibrate`, which every line notes.
        calibrate: what is done to the scores that are written; None for nothing.
    """
    done, total, steps = _finished(path, pools, verifier.id, calibration)
    noted = {} if calibrate is None else {"calibration": calibration}
    candidates = kept = 0
    bar: Progress | None = None
    with open_to_append(path) as handle, ExitStack() as shown:
        for start, part in _chunks(pools, chunk):
            candidates += sum(len(pool.candidates) for pool in part)
            new = start + len(part) - max(start, done)
            if new <= 0:
                continue
            scored = read_chunk(shelf, part)
            if scored is not None:
                kept += new
            else:
                if bar is None:
                    if isinstance(verifier, LazyVerifier):
                        verifier.load()  # what is wrong with it is told before there is a bar
                    bar = shown.enter_context(progress("scoring", len(pools), "problems", done + kept))
                scored = verifier.score_many(items_of(part), batch_tokens)
                write_chunk(shelf, part, scored)
            if bar is not None:
                bar.advance(new)
            if calibrate is not None:
                scored = [_calibrated(scores, calibrate) for scores in scored]
            for index, (pool, scores) in enumerate(zip(part, scored, strict=True), start):
                if index >= done:
                    total += sum(map(sum, scores))
                    steps += sum(map(len, scores))
                    line = ScoreLine(pool.problem.id, tuple(map(tuple, scores)), verifier.id)
                    append_line(handle, {**line.to_json(), **noted})
    if kept:
        tell(f"{kept:,} problems scored by verifier {verifier.id}")
    return {
        "problems": len(pools),
        "candidates": candidates,
        "scored_now": verifier.counts._asdict(),
        "from_store": kept,
        "mean_step_score": total / steps if steps else None,
        "verifier": verifier.id,
        "calibration": calibration,
    }


def _calibrated(scores: list[list[float]], calibrate: Calibration) -> list[list[float]]:
    """The scores of one problem's candidates, calibrated, to the digits that scores have."""
    return [[float(f"{each:.8g}") for each in calibrate(np.array(mine))] for mine in scores]


def _chunks(pools: Pools, size: int) -> Iterator[tuple[int, list[ProblemPool]]]:
    """Runs of problems, each with the number of its first."""
    problems, start = iter(pools), 0
    while part := list(islice(problems, size)):
        yield start, part
        start += len(part)


def _finished(
    path: Path, pools: Pools, verifier_id: str, calibration: CalibrationKind
) -> tuple[int, float, int]:
    """How many lines are there already, the sum of their step scores, and how many those are.

    They must be the first problems' and this verifier's.
    """
    problems, line, total, steps = iter(pools), 0, 0.0, 0
    for line, row in enumerate(iter_finished(path), start=1):
        pool = next(problems, None)
        expected = None if pool is None else pool.problem.id
        is_other = row.get("calibration", "none") != calibration
        if row.get("id") != expected or row.get("verifier") != verifier_id or is_other:
            raise ShepherdError(
                f"{path}:{line}: scores of {row.get('id')!r} by verifier {row.get('verifier')!r}, expected "
                f"{expected!r} by {verifier_id!r}; pool, verifier or calibration has changed, start a new run"
            )
        scores = ScoreLine.from_json(row, str(path), line).step_scores
        total += sum(map(sum, scores))
        steps += sum(map(len, scores))
    return line, total, steps
