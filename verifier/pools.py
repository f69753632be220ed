"""Score a candidate pool into ``scores.jsonl``, a line a problem: a killed run goes on where it was.

Problems are scored in fixed chunks. A chunk that a kill cut in half is scored again as a whole, and only
its missing lines are written: each problem is always scored in the same company, so the bytes are the same.
A chunk that the store has is not scored at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eval.kinds import CalibrationKind
from eval.scores import Calibration
from shepherd.console import progress
from shepherd.errors import ShepherdError
from shepherd.files import append_line, read_finished
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


def score_pool(
    verifier: Scorer,
    pools: Sequence[ProblemPool],
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
        batch_tokens: most padded tokens in one forward pass.
        shelf: where this verifier's scores are kept, as they are: never calibrated ones.
        calibration: the name of `calibrate`, which every line notes.
        calibrate: what is done to the scores that are written; None for nothing.
    """
    done = _finished(path, pools, verifier.id, calibration)
    noted = {} if calibrate is None else {"calibration": calibration}
    starts = range(done - done % chunk, len(pools), chunk)
    parts = {start: pools[start : start + chunk] for start in starts}
    known = {start: read for start in starts if (read := read_chunk(shelf, parts[start])) is not None}
    kept = sum(min(start + chunk, len(pools)) - max(start, done) for start in known)
    if kept:
        tell(f"{kept:,} problems scored by verifier {verifier.id}")
    total = steps = 0.0
    with path.open("a", encoding="utf-8") as handle, ExitStack() as shown:
        if len(known) < len(starts):
            if isinstance(verifier, LazyVerifier):
                verifier.load()  # what is wrong with it is told before there is a bar
            bar = shown.enter_context(progress("scoring", len(pools), "problems", done + kept))
        for start, part in parts.items():
            scored = known.get(start)
            if scored is None:
                scored = verifier.score_many(items_of(part), batch_tokens)
                write_chunk(shelf, part, scored)
                bar.advance(start + len(part) - max(start, done))
            if calibrate is not None:
                scored = [_calibrated(scores, calibrate) for scores in scored]
            for index, scores in enumerate(scored, start):
                total += sum(score for solution in scores for score in solution)
                steps += sum(len(solution) for solution in scores)
                if index >= done:
                    line = ScoreLine(pools[index].problem.id, tuple(map(tuple, scores)), verifier.id)
                    append_line(handle, {**line.to_json(), **noted})
    return {
        "problems": len(pools),
        "candidates": sum(len(pool.candidates) for pool in pools),
        "scored_now": verifier.counts._asdict(),
        "from_store": kept,
        "mean_step_score": total / steps if steps else None,
        "verifier": verifier.id,
        "calibration": calibration,
    }


def _calibrated(scores: list[list[float]], calibrate: Calibration) -> list[list[float]]:
    """The scores of one problem's candidates, calibrated, to the digits that scores have."""
    return [[float(f"{each:.8g}") for each in calibrate(np.array(mine))] for mine in scores]


def _finished(
    path: Path, pools: Sequence[ProblemPool], verifier_id: str, calibration: CalibrationKind
) -> int:
    """How many lines are there already; they must be the first problems' and this verifier's."""
    rows = read_finished(path)
    for line, row in enumerate(rows, start=1):
        expected = pools[line - 1].problem.id if line <= len(pools) else None
        is_other = row.get("calibration", "none") != calibration
        if row.get("id") != expected or row.get("verifier") != verifier_id or is_other:
            raise ShepherdError(
                f"{path}:{line}: scores of {row.get('id')!r} by verifier {row.get('verifier')!r}, expected "
                f"{expected!r} by {verifier_id!r}; pool, verifier or calibration has changed, start a new run"
            )
    return len(rows)
