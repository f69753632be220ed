"""What the project reads and writes: problems, pools of candidates, step scores, training rows.

One JSON object a line. Every reader names file, line, what was found and what to do. A key that nobody knows
is passed over, so that files may carry more than this package reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from shepherd import steps
from shepherd.errors import ShepherdError, at
from shepherd.fields import is_finite, text_of
from shepherd.files import SCHEMA_VERSION, read_jsonl, write_jsonl

__all__ = [
    "SCHEMA_VERSION",
    "Candidate",
    "Problem",
    "ProblemPool",
    "ScoreLine",
    "StepRow",
    "iter_pool",
    "read_pool",
    "read_scores",
    "write_pool",
    "write_scores",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its gold final answer as text (None where nobody knows it)."""

    id: str
    question: str
    answer: str | None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        return {"id": self.id, "question": self.question, "answer": self.answer, "source": self.source}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int, what: str = "problem") -> Problem:
        """Read a problem; ``where`` and ``line`` are for the error, ``what`` is what the line should be."""
        needs = f"a {what} line needs id, question and answer" + (
            " and candidates (see shepherd rerank --help)" if what == "pool" else ""
        )
        for field in ("id", "question", "answer"):
            if field not in row:
                raise at(where, line, f'no "{field}" field; {needs}')
        identity, answer = row["id"], row["answer"]
        if isinstance(identity, int) and not isinstance(identity, bool):
            identity = str(identity)
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if answer is not None and not isinstance(answer, str):
            raise at(where, line, '"answer" must be text, a number, or null where there is no gold answer')
        return cls(
            id=text_of(identity, "id", where, line),
            question=text_of(row["question"], "question", where, line),
            answer=None if answer is None else text_of(answer, "answer", where, line),
            source=text_of(row.get("source") or "", "source", where, line),
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution that a generator wrote.

    Attributes:
        text: The solution as it was decoded.
        generator: What wrote it.
        finish_reason: ``"stop"`` or ``"length"`` where it is known.
        tokens: Length in the generator's tokens.
        logprob: Mean log-likelihood a token (nats) under its generator.
    """

    text: str
    generator: str = ""
    finish_reason: str | None = None
    tokens: int | None = None
    logprob: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The candidate as a JSON object; what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if key == "text" or value not in (None, "")}

    @classmethod
    def from_json(cls, row: object, where: str, line: int, index: int = 0) -> Candidate:
        """Read one candidate of a pool line; a null text (real pools have them) is an empty solution."""
        name = f"candidates[{index}]"
        if not isinstance(row, Mapping):
            raise at(where, line, f'{name} is not an object; a candidate is {{"text": "…"}}')
        if "text" not in row:
            raise at(where, line, f'no "text" field in {name}; a candidate is {{"text": "…"}}')
        tokens = row.get("tokens")
        if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0):
            raise at(where, line, f"{name}.tokens must be a whole number, found {tokens!r}")
        logprob = row.get("logprob")
        if logprob is not None and not is_finite(logprob):
            raise at(where, line, f"{name}.logprob must be a finite number, found {logprob!r}")
        finish = row.get("finish_reason")
        return cls(
            text=text_of("" if row["text"] is None else row["text"], f"{name}.text", where, line),
            generator=text_of(row.get("generator") or "", f"{name}.generator", where, line),
            finish_reason=None if finish is None else text_of(finish, f"{name}.finish_reason", where, line),
            tokens=tokens,
            logprob=None if logprob is None else float(logprob),
        )


@dataclass(frozen=True, slots=True)
class ProblemPool:
    """A problem and its candidates; their order is the order of the scores."""

    problem: Problem
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """The pool line as a JSON object."""
        return {
            **self.problem.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int) -> ProblemPool:
        """Read a pool line; repeated texts are data, no candidates at all is an error."""
        if "candidates" not in row:
            raise at(
                where,
                line,
                'no "candidates" field; a pool line needs id, question, answer and candidates '
                "(see shepherd rerank --help)",
            )
        problem = Problem.from_json(row, where, line, "pool")
        candidates = row["candidates"]
        if not isinstance(candidates, list):
            raise at(where, line, '"candidates" must be a list of {"text": "…"}')
        if not candidates:
            raise at(where, line, f'"{problem.id}" has no candidates; drop the line or generate some')
        read = tuple(Candidate.from_json(each, where, line, index) for index, each in enumerate(candidates))
        return cls(problem, read)


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """Step scores of one problem: P(step is correct) in [0, 1], a tuple a candidate in the pool's order."""

    id: str
    step_scores: tuple[tuple[float, ...], ...]
    verifier: str = ""

    def to_json(self) -> dict[str, Any]:
        """The scores line as a JSON object."""
        return {
            "id": self.id,
            "step_scores": [list(each) for each in self.step_scores],
            "verifier": self.verifier,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int) -> ScoreLine:
        """Read a scores line; a score outside [0, 1] or not a number is an error."""
        for field in ("id", "step_scores"):
            if field not in row:
                raise at(where, line, f'no "{field}" field; a scores line needs id and step_scores')
        identity, scores = row["id"], row["step_scores"]
        if isinstance(identity, int) and not isinstance(identity, bool):
            identity = str(identity)
        if not isinstance(scores, list) or not all(isinstance(each, list) for each in scores):
            raise at(where, line, '"step_scores" must be a list of lists: one a candidate, one number a step')
        for candidate, each in enumerate(scores):
            for step, score in enumerate(each):
                if not (is_finite(score) and 0 <= score <= 1):
                    raise at(
                        where, line, f"step_scores[{candidate}][{step}] must be in [0, 1], found {score!r}"
                    )
        return cls(
            id=text_of(identity, "id", where, line),
            step_scores=tuple(tuple(map(float, each)) for each in scores),
            verifier=text_of(row.get("verifier") or "", "verifier", where, line),
        )


@dataclass(frozen=True, slots=True)
class StepRow:
    """A training row: a label a step, in [0, 1] (1 is right; soft labels are kept), or None if unknown."""

    question: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    source: str = ""
    id: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        row = {
            "id": self.id,
            "question": self.question,
            "steps": list(self.steps),
            "labels": list(self.labels),
        }
        return {**row, "source": self.source}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int) -> StepRow:
        """Read a training row; as many labels as steps, or it is an error."""
        for field in ("question", "steps", "labels"):
            if field not in row:
                raise at(where, line, f'no "{field}" field; a step row needs question, steps and labels')
        texts, labels = row["steps"], row["labels"]
        if not isinstance(texts, list) or not isinstance(labels, list):
            raise at(where, line, '"steps" and "labels" must be lists')
        if len(texts) != len(labels):
            raise at(
                where,
                line,
                f"{len(texts)} steps but {len(labels)} labels; each step needs one (null if unknown)",
            )
        for index, label in enumerate(labels):
            if label is not None and not (isinstance(label, bool) or (is_finite(label) and 0 <= label <= 1)):
                raise at(where, line, f"labels[{index}] must be in [0, 1] or null, found {label!r}")
        return cls(
            question=text_of(row["question"], "question", where, line),
            steps=tuple(text_of(text, f"steps[{index}]", where, line) for index, text in enumerate(texts)),
            labels=tuple(None if label is None else float(label) for label in labels),
            source=text_of(row.get("source") or "", "source", where, line),
            id=text_of(row.get("id") or "", "id", where, line),
        )


def iter_pool(path: str | os.PathLike[str]) -> Iterator[ProblemPool]:
    """Yield the problems of a pool file one by one; an empty pool and a repeated id are errors."""
    for line, row in _rows_with_unique_ids(path, "pool", "candidates"):
        yield ProblemPool.from_json(row, _name(path), line)


class PoolFile:
    """A pool file that is read anew each time its problems are asked for: a pool may be larger than memory.

    Args:
        path: the file; all of it is read and checked now, and nothing of it is kept.
        limit: the first so many problems; None for all.

    Raises:
        ShepherdError: for what is wrong with it (see ``iter_pool``).
    """

    def __init__(self, path: str | os.PathLike[str], limit: int | None = None) -> None:
        self.path = path
        found = sum(1 for _ in iter_pool(path))
        self._problems = found if limit is None else min(found, limit)

    def __len__(self) -> int:
        """Problems that are asked for."""
        return self._problems

    def __iter__(self) -> Iterator[ProblemPool]:
        """The problems, one by one."""
        return islice(iter_pool(self.path), self._problems)


def read_pool(path: str | os.PathLike[str]) -> list[ProblemPool]:
    """Read a whole pool file (see ``iter_pool``)."""
    return list(iter_pool(path))


def write_pool(path: str | os.PathLike[str], pools: Iterable[ProblemPool]) -> None:
    """Write a pool file, whole or not at all."""
    write_jsonl(path, (pool.to_json() for pool in pools))


def read_scores(path: str | os.PathLike[str], pools: Sequence[ProblemPool]) -> list[ScoreLine]:
    """Read the scores of a pool, in the pool's order.

    Lines may come in any order, and lines of problems outside ``pools`` (it may be a part) are passed over.

    Raises:
        ShepherdError: if a problem has no line, a line has not one list a candidate, or a list has not one
            number a step as ``steps.split`` counts them.
    """
    wanted = {pool.problem.id: pool for pool in pools}
    found: dict[str, ScoreLine] = {}
    for line, row in _rows_with_unique_ids(path, "scores", "step_scores"):
        scores = ScoreLine.from_json(row, _name(path), line)
        pool = wanted.get(scores.id)
        if pool is None:
            continue
        if len(scores.step_scores) != len(pool.candidates):
            raise at(
                _name(path),
                line,
                f'"{scores.id}" has {len(scores.step_scores)} lists of step scores; '
                f"the pool has {len(pool.candidates)} candidates",
            )
        for index, (each, candidate) in enumerate(zip(scores.step_scores, pool.candidates, strict=True)):
            expected = len(steps.split(candidate.text).steps)
            if len(each) != expected:
                raise at(
                    _name(path),
                    line,
                    f'candidate {index} of "{scores.id}" has {len(each)} step scores; '
                    f"its text has {expected} steps",
                )
        found[scores.id] = scores
    missing = [pool.problem.id for pool in pools if pool.problem.id not in found]
    if missing:
        shown = ", ".join(f'"{each}"' for each in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise ShepherdError(
            f"{_name(path)}: no scores for {len(missing)} of {len(pools)} problems ({shown}); "
            "score the whole pool first"
        )
    return [found[pool.problem.id] for pool in pools]


def write_scores(path: str | os.PathLike[str], scores: Iterable[ScoreLine]) -> None:
    """Write a scores file, whole or not at all."""
    write_jsonl(path, (line.to_json() for line in scores))


def _name(path: str | os.PathLike[str]) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _rows_with_unique_ids(
    path: str | os.PathLike[str], what: str, field: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    first_line: dict[object, int] = {}
    for line, row in read_jsonl(path):
        identity = row.get("id")
        if isinstance(identity, str | int):
            identity = str(identity)
            if identity in first_line:
                raise at(
                    _name(path),
                    line,
                    f'id "{identity}" was already on line {first_line[identity]}; ids must differ',
                )
            first_line[identity] = line
        yield line, row
    if not first_line:
        article = "" if what == "scores" else "a "
        raise ShepherdError(
            f'{_name(path)}: no lines; {article}{what} file has one JSON object a line, with "{field}"'
        )
