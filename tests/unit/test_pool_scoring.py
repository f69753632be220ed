"""Scoring a pool a chunk at a time: what is held, what a stopped run goes on to."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from shepherd.errors import ShepherdError
from shepherd.records import Candidate, PoolFile, Problem, ProblemPool, read_pool, write_pool
from verifier.counts import ScoringCounts
from verifier.pools import score_pool


class Lengths:
    """Scores each step by its length: a verifier without a model."""

    id = "lengths"
    counts = ScoringCounts()

    def __init__(self) -> None:
        self.asked = 0

    def score_many(
        self, items: Sequence[tuple[str, Sequence[str]]], batch_tokens: int
    ) -> list[list[list[float]]]:
        self.asked += len(items)
        return [[[len(line) / 100 for line in text.split("\n")] for text in texts] for _, texts in items]


class Text(str):
    """A text that can be watched."""


class Watched:
    """Problems made when they are asked for; `most` of them were alive at one time."""

    def __init__(self, count: int) -> None:
        self.count, self.alive, self.most = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[ProblemPool]:
        for number in range(self.count):
            question = Text(f"How many? {number}")
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(question, self._gone)
            yield ProblemPool(Problem(f"p{number}", question, "1"), _pool(number).candidates)
            del question

    def _gone(self) -> None:
        self.alive -= 1


def _pool(number: int) -> ProblemPool:
    texts = [f"Step 1: {number}\nStep 2: {'x' * each}" for each in range(number % 3 + 1)]
    return ProblemPool(Problem(f"p{number}", f"How many? {number}", "1"), tuple(map(Candidate, texts)))


def test_no_more_than_some_chunks_are_held(tmp_path: Path) -> None:
    gc.collect()
    pools = Watched(200)
    found = score_pool(Lengths(), pools, tmp_path / "scores.jsonl", chunk=4, batch_tokens=100)
    assert found["problems"] == 200
    assert found["candidates"] == sum(number % 3 + 1 for number in range(200))
    assert pools.most <= 9  # a chunk, the one after it, and a problem on its way


@pytest.mark.parametrize("kept", [0, 1, 4, 7, 10])
def test_a_stopped_run_goes_on_to_the_same_file_and_the_same_result(tmp_path: Path, kept: int) -> None:
    pools = [_pool(number) for number in range(10)]
    whole, stopped = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    expected = score_pool(Lengths(), pools, whole, chunk=4, batch_tokens=100)
    lines = whole.read_text().splitlines(keepends=True)
    stopped.write_text("".join(lines[:kept]) + (lines[kept][:9] if kept < 10 else ""))
    scorer = Lengths()
    found = score_pool(scorer, pools, stopped, chunk=4, batch_tokens=100)
    assert stopped.read_bytes() == whole.read_bytes()
    assert found["mean_step_score"] == pytest.approx(expected["mean_step_score"])
    assert scorer.asked == (0 if kept == 10 else 10 - kept // 4 * 4)


def test_lines_of_other_problems_are_told_by_their_number(tmp_path: Path) -> None:
    pools = [_pool(number) for number in range(3)]
    path = tmp_path / "scores.jsonl"
    score_pool(Lengths(), pools, path, chunk=2, batch_tokens=100)
    with pytest.raises(ShepherdError, match=r"scores.jsonl:3: scores of 'p2'.*expected None"):
        score_pool(Lengths(), pools[:2], path, chunk=2, batch_tokens=100)


def test_a_pool_file_is_checked_whole_and_read_as_often_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    write_pool(path, [_pool(number) for number in range(5)])
    assert list(PoolFile(path)) == list(PoolFile(path)) == read_pool(path)
    part = PoolFile(path, limit=2)
    assert len(part) == 2
    assert [pool.problem.id for pool in part] == ["p0", "p1"]
    assert len(PoolFile(path, limit=9)) == 5
    with path.open("a") as handle:
        handle.write(json.dumps({"id": "p0"}) + "\n")
    with pytest.raises(ShepherdError, match=r"pool.jsonl:6"):
        PoolFile(path, limit=2)
