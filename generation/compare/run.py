"""`shepherd compare`: candidates, scores and reports of generators with verifiers, and what differs.

    <generator>/pool.jsonl -> <generator>/<verifier>.scores.jsonl -> results.json, compare.png

Every stage leaves its file, and a resumed run passes over what is finished. Only problems that every pool
holds are compared, so every difference is paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval.comparison_plot import plot_comparison
from generation.compare.cell import Cell
from generation.compare.config import ALONE, GIVEN, CompareConfig
from generation.compare.cost import Cost, generated_tokens, scored_tokens
from generation.compare.differences import answer_of, differences_of
from generation.config import RerankConfig
from generation.inputs import rerank_files
from generation.rerank import Given, candidates, measure, read_given, require_verifiers
from generation.scored import Log, StepScores, score_pool
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from shepherd.records import ProblemPool, write_scores
from verifier.shape import Shape, find_shape, parameters

RESULTS, PICTURE = "results.json", "compare.png"


def read_all(config: CompareConfig) -> dict[str, Given]:
    """Read every generator's problems or pool before anything is done, and refuse what cannot be scored."""
    given = {}
    for generator in config.generators:
        given[generator] = read_given(config.cell(generator))
        for verifier in config.verifiers:
            require_verifiers(config.cell(generator, verifier))
    return given


def compare(config: CompareConfig, folder: Path, log: Log, given: Mapping[str, Given]) -> dict[str, Any]:
    """Compare generators and verifiers.

    Args:
        config: What to compare.
        folder: Where everything goes; what is finished there stays.
        log: Told what was done, a line at a time.
        given: What `read_all` read.

    Returns:
        The grid of reports, the differences and the answer, as ``results.json`` has them.
    """
    pools = {
        name: candidates(config.cell(name), given[name], folder / name, log) for name in config.generators
    }
    common = common_problems(pools)
    ids = [pools[next(iter(pools))][place].problem.id for place in next(iter(common.values()))]
    n = config.n or min(len(pool.candidates) for each in pools.values() for pool in each)
    cells = []
    for generator, mine in pools.items():
        shared = [
            _named(mine[place], identity) for place, identity in zip(common[generator], ids, strict=True)
        ]
        for verifier, cell, scores in _scored(config, generator, mine, given[generator], folder, log):
            shared_scores = None if scores is None else [scores[place] for place in common[generator]]
            report = measure(cell, shared, shared_scores, {}, n=n)
            cost = _cost(cell, shared, scores is not None)
            answers = cell.answers.model_copy(update={"style": cell.answer_style})
            cells.append(Cell(generator, verifier, report, cost, answers))
            log(f"{generator}, {verifier}: {report.problems} problems, n = {report.n}")
    differences = differences_of(cells, config.bootstrap, config.seed)
    result = {
        "n": n,
        "generators": list(config.generators),
        "verifiers": list(dict.fromkeys(cell.verifier for cell in cells)),
        "problems": cells[0].report.problems,
        "problems_left_out": {name: len(pools[name]) - len(each) for name, each in common.items()},
        "cells": [cell.to_json() for cell in cells],
        "differences": [each.to_json() for each in differences],
        "answer": answer_of(cells, differences),
    }
    plot_comparison(result, folder / PICTURE)
    write_json(folder / RESULTS, result)
    return result


def read_results(folder: Path) -> dict[str, Any]:
    """The result of a finished run."""
    result = read_json(folder / RESULTS)
    result.pop("schema_version", None)
    return result


def inputs_of(config: CompareConfig) -> list[Path]:
    """Every file that decides the result."""
    cells = [config.cell(generator) for generator in config.generators]
    first = next(iter(config.generators))
    cells += [config.cell(first, verifier) for verifier in config.verifiers]
    return list(dict.fromkeys(file for cell in cells for file in rerank_files(cell)))


def common_problems(pools: Mapping[str, Sequence[ProblemPool]]) -> dict[str, list[int]]:
    """Where the problems that every pool holds stand in each pool, in the first pool's order.

    A problem is its question, whatever its id: files number the same problems differently. Of a question that
    stands twice in a pool, the first goes with the first. One without a gold answer in some pool is no common
    problem: it could not be graded there.

    Raises:
        ShepherdError: where there are none.
    """
    places = {name: _by_question(each) for name, each in pools.items()}
    first = next(iter(places.values()))
    common = [key for key in first if all(key in each for each in places.values())]
    if not common:
        raise ShepherdError(
            f"{' and '.join(pools)}: no question with a gold answer is in all of them; nothing to compare"
        )
    return {name: [each[key] for key in common] for name, each in places.items()}


def _by_question(pools: Sequence[ProblemPool]) -> dict[tuple[str, int], int]:
    """The place of each question that has a gold answer, and its repetition."""
    seen: Counter[str] = Counter()
    found = {}
    for place, pool in enumerate(pools):
        question = " ".join(pool.problem.question.split())
        if pool.problem.answer is not None:
            found[question, seen[question]] = place
        seen[question] += 1
    return found


def _named(pool: ProblemPool, identity: str) -> ProblemPool:
    """The pool under the id that the first generator's has, so that all are paired."""
    return replace(pool, problem=replace(pool.problem, id=identity))


def _scored(
    config: CompareConfig,
    generator: str,
    pools: list[ProblemPool],
    given: Given,
    folder: Path,
    log: Log,
) -> list[tuple[str, RerankConfig, StepScores | None]]:
    """A generator's cells: verifier, config, step scores in the pools' order."""
    found: list[tuple[str, RerankConfig, StepScores | None]] = []
    alone = config.cell(generator)
    if given.scores is not None:
        kept = folder / generator / f"{GIVEN}.scores.jsonl"
        if not kept.exists():
            write_scores(kept, given.scores)
        found.append((GIVEN, alone, [[list(each) for each in line.step_scores] for line in given.scores]))
    for verifier in config.verifiers:
        cell = config.cell(generator, verifier)
        path = folder / generator / f"{verifier}.scores.jsonl"
        found.append((verifier, cell, score_pool(pools, str(cell.verifier), path, cell, log)))
    return found or [(ALONE, alone, None)]


def _cost(cell: RerankConfig, pools: Sequence[ProblemPool], scored: bool) -> Cost:
    """What a candidate costs; a given pool says its own tokens, and not whose model wrote it."""
    sampled = cell.pool.file is None and cell.engine != "server"
    own = scored and cell.scores is None and cell.verifier is not None
    read = (
        scored_tokens(pools, str(cell.verifier), format=cell.format, published=cell.published)
        if own
        else None
    )
    return Cost(
        generated_tokens=generated_tokens(pools),
        scored_tokens=read if scored else 0.0,
        generator_parameters=_size(cell.model, cell.shape) if sampled else None,
        verifier_parameters=_verifier_size(cell) if own else None if scored else 0,
    )


def _verifier_size(cell: RerankConfig) -> int | None:
    from verifier.description import read_description
    from verifier.places import find_place

    name = str(cell.verifier)
    place = find_place(name)
    if place.folder is None:
        return _size(name, cell.verifier_shape)
    base = read_description(place.folder).base if place.kind == "trained" else str(place.folder)
    return _size(base, None)


def _size(model: str, given: Shape | None) -> int | None:
    shape = find_shape(model, given)
    return None if shape is None else parameters(shape).total
