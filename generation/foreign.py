"""Pools made elsewhere, read as this project's own: one adapter a format.

===============  =========================================================================================
format           one JSON object a line
===============  =========================================================================================
shepherd         ``id``, ``question``, ``answer``, ``candidates``: a list of ``{"text": …}``
subq             ``idx``, ``question``, ``gold``, ``candidates``: a list of ``{"policy", "text"}``
zeroeval         ``idx``, ``question``, ``gold``, ``candidates``: a list of ``{"model", "output"}``
openai-samples   ``question``, ``ground_truth``, a model: ``{"is_correct", "solution"}``; the id is its line
===============  =========================================================================================

Repeated texts and null texts are data: a null text is a solution without steps and without an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shepherd.answers import PoolFormat
from shepherd.errors import ShepherdError, at
from shepherd.files import STDIN, read_jsonl
from shepherd.records import ProblemPool

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadPool:
    """A pool as it was read.

    Attributes:
        pools: Problems with their candidates.
        flags: Where the file says of every candidate whether it is right, what it says, in the pools' order.
    """

    pools: list[ProblemPool]
    flags: list[tuple[bool, ...]] | None


def read(
    path: str, pool_format: PoolFormat = "shepherd", *, limit: int | None = None, n: int | None = None
) -> ReadPool:
    """Read the first ``limit`` problems of a pool (all, if None).

    Args:
        path: The file; ``.gz`` and ``.xz`` are read as they are.
        pool_format: One of the formats above.
        limit: Problems to read.
        n: Candidates that every problem must have at least.

    Raises:
        ShepherdError: with file and line, for a line that does not fit the format, a repeated id, a problem
            with fewer than ``n`` candidates or with none; with the file, for a pool without lines.
    """
    if path == STDIN:
        raise ShepherdError("--pool -: a run must be able to read its pool again; save it to a file first")
    pools: list[ProblemPool] = []
    flags: list[tuple[bool, ...]] = []
    first_line: dict[str, int] = {}
    for line, row in read_jsonl(path):
        if limit is not None and len(pools) >= limit:
            break
        pool = _ADAPTERS[pool_format](row, path, line)
        identity = pool.problem.id
        if identity in first_line:
            raise at(
                path, line, f'id "{identity}" was already on line {first_line[identity]}; ids must differ'
            )
        first_line[identity] = line
        if n is not None and len(pool.candidates) < n:
            size = len(pool.candidates)
            raise at(
                path,
                line,
                f'"{identity}" has {size} candidates, n is {n}; give --n {size} or less, or sample more',
            )
        pools.append(pool)
        if pool_format == "openai-samples":
            flags.append(tuple(_is_correct(row, path, line)))
    if not pools:
        raise ShepherdError(
            f"{path}: an empty pool, no lines; a pool line needs id, question, answer and candidates "
            "(see shepherd rerank --help)"
        )
    return ReadPool(pools, flags or None)


def _subq(row: Row, path: str, line: int) -> ProblemPool:
    return _listed(row, path, line, "subq", text="text", generator="policy")


def _zeroeval(row: Row, path: str, line: int) -> ProblemPool:
    return _listed(row, path, line, "zeroeval", text="output", generator="model")


def _listed(row: Row, path: str, line: int, name: str, *, text: str, generator: str) -> ProblemPool:
    """A line with a list of candidates under other names."""
    _need(row, ("idx", "question", "gold", "candidates"), path, line, name)
    listed = row["candidates"]
    if isinstance(listed, list):
        listed = [
            _renamed(each, index, path, line, name, text, generator) for index, each in enumerate(listed)
        ]
    renamed = {
        "id": row["idx"],
        "question": row["question"],
        "answer": row["gold"],
        "source": name,
        "candidates": listed,
    }
    return ProblemPool.from_json(renamed, path, line)


def _renamed(
    candidate: object, index: int, path: str, line: int, name: str, text: str, generator: str
) -> object:
    if not isinstance(candidate, Mapping):
        return candidate
    if text not in candidate:
        raise at(
            path,
            line,
            f'no "{text}" field in candidates[{index}]; a {name} candidate has {generator}, {text}',
        )
    return {"text": candidate[text], "generator": candidate.get(generator)}


def _openai(row: Row, path: str, line: int) -> ProblemPool:
    _need(row, ("question", "ground_truth"), path, line, "openai-samples")
    truth = row["ground_truth"]
    if not isinstance(truth, str) or "A:" not in truth:
        raise at(path, line, '"ground_truth" must be a text that ends with its answer, as in "A: 18"')
    candidates = []
    for model, sample in _samples(row):
        if "solution" not in sample:
            raise at(path, line, f'no "solution" field in "{model}"; a sample has is_correct and solution')
        candidates.append({"text": sample["solution"], "generator": model})
    renamed = {
        "id": str(line),
        "question": row["question"],
        "answer": truth.rpartition("A:")[2].strip(),
        "source": "openai-samples",
        "candidates": candidates,
    }
    return ProblemPool.from_json(renamed, path, line)


def _samples(row: Row) -> Iterator[tuple[str, Row]]:
    """The samples of a line, in its order: every field that holds an object."""
    return ((model, sample) for model, sample in row.items() if isinstance(sample, Mapping))


def _is_correct(row: Row, path: str, line: int) -> Iterator[bool]:
    for model, sample in _samples(row):
        if not isinstance(sample.get("is_correct"), bool):
            raise at(path, line, f'no "is_correct" of true or false in "{model}"')
        yield sample["is_correct"]


def _need(row: Row, fields: tuple[str, ...], path: str, line: int, name: str) -> None:
    for field in fields:
        if field not in row:
            raise at(path, line, f'no "{field}" field; a {name} line needs {", ".join(fields)}')


_ADAPTERS: dict[PoolFormat, Callable[[Row, str, int], ProblemPool]] = {
    "shepherd": ProblemPool.from_json,
    "subq": _subq,
    "zeroeval": _zeroeval,
    "openai-samples": _openai,
}
