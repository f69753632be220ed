"""Score a candidate pool into ``scores.jsonl``, a line a problem: a killed run goes on where it was.

Problems are scored in fixed chunks. A chunk that a kill cut in half is scored again as a whole, and only
its missing lines are written: each problem is always scored in the same company, so the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shepherd.console import progress
from shepherd.errors import ShepherdError
from shepherd.files import append_line, read_finished
from shepherd.records import ProblemPool, ScoreLine
from verifier.scoring import Verifier


def score_pool(
    verifier: Verifier,
    pools: Sequence[ProblemPool],
    path: Path,
    *,
    chunk: int,
    batch_tokens: int,
) -> dict[str, Any]:
    """Append the missing lines of `path` and say what was scored.

    Args:
        verifier: the verifier.
        pools: problems with their candidates, in the order of the lines.
        path: the scores file; lines that are there already are kept.
        chunk: problems scored together.
        batch_tokens: most padded tokens in one forward pass.
    """
    done = _finished(path, pools, verifier.id)
    total = steps = 0.0
    with (
        path.open("a", encoding="utf-8") as handle,
        progress("scoring", len(pools), "problems", done) as bar,
    ):
        for start in range(done - done % chunk, len(pools), chunk):
            part = pools[start : start + chunk]
            items = [(pool.problem.question, [each.text for each in pool.candidates]) for pool in part]
            for index, scores in enumerate(verifier.score_many(items, batch_tokens)):
                total += sum(score for solution in scores for score in solution)
                steps += sum(len(solution) for solution in scores)
                if start + index < done:
                    continue
                line = ScoreLine(part[index].problem.id, tuple(map(tuple, scores)), verifier.id)
                append_line(handle, line.to_json())
                bar.advance()
    counts = verifier.counts
    return {
        "problems": len(pools),
        "candidates": sum(len(pool.candidates) for pool in pools),
        "scored_now": counts._asdict(),
        "mean_step_score": total / steps if steps else None,
        "verifier": verifier.id,
    }


def _finished(path: Path, pools: Sequence[ProblemPool], verifier_id: str) -> int:
    """How many lines are there already; they must be the first problems' and this verifier's."""
    rows = read_finished(path)
    for line, row in enumerate(rows, start=1):
        expected = pools[line - 1].problem.id if line <= len(pools) else None
        if row.get("id") != expected or row.get("verifier") != verifier_id:
            raise ShepherdError(
                f"{path}:{line}: scores of {row.get('id')!r} by verifier {row.get('verifier')!r}, expected "
                f"{expected!r} by {verifier_id!r}; pool or verifier has changed, start a new run"
            )
    return len(rows)
