"""`shepherd compare`: candidates, scores and reports of generators with verifiers, and what differs.

    <generator>/pool.jsonl -> <generator>/<verifier>.scores.jsonl -> results.json, compare.png

Every stage leaves its file, and a resumed run passes over what is finished. Only problems that every pool
holds are compared, so every difference is paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.comparison_plot import plot_comparison
from eval.report import RerankReport
from generation.compare.config import ALONE, GIVEN, CompareConfig
from generation.compare.cost import Cost, generated_tokens, scored_tokens
from generation.compare.differences import answer_of, differences_of
from generation.config import AnswersConfig, RerankConfig
from generation.inputs import rerank_files
from generation.rerank import Given, Log, StepScores, candidates, measure, read_given, score_pool
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from shepherd.records import ProblemPool, write_scores
from verifier.engines import require_scorer
from verifier.shape import Shape, find_shape, parameters

RESULTS, PICTURE = "results.json", "compare.png"


@dataclass(frozen=True, slots=True)
class Cell:
    """One generator with one verifier.

    Attributes:
        generator: its name.
        verifier: its name, `ALONE`, or `GIVEN`.
        report: on the common problems.
        cost: of a candidate.
        answers: how the candidates' answers were read and compared.
    """

    generator: str
    verifier: str
    report: RerankReport
    cost: Cost
    answers: AnswersConfig

    def to_json(self) -> dict[str, Any]:
        """The cell as ``results.json`` has it."""
        points = [n for n, _ in self.report.curves["majority"]]
        return {
            "generator": self.generator,
            "verifier": self.verifier,
            "report": self.report.to_json(),
            "cost": self.cost.to_json(points),
            "answers": self.answers.model_dump(mode="json"),
        }


def read_all(config: CompareConfig) -> dict[str, Given]:
    """Read every generator's problems or pool before anything is done, and refuse what cannot be scored."""
    given = {}
    for generator in config.generators:
        given[generator] = read_given(config.cell(generator))
        for verifier in config.verifiers:
            cell = config.cell(generator, verifier)
            require_scorer(cell.scorer, str(cell.verifier), cell.published)
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
    common, left_out = common_problems(pools)
    n = config.n or min(len(pool.candidates) for each in pools.values() for pool in each)
    cells = []
    for generator, mine in pools.items():
        shared = _on(common, mine, mine)
        for verifier, cell, scores in _scored(config, generator, mine, given[generator], folder, log):
            report = measure(cell, shared, None if scores is None else _on(common, mine, scores), {}, n=n)
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
        "problems_left_out": left_out,
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


def common_problems(pools: Mapping[str, Sequence[ProblemPool]]) -> tuple[list[str], dict[str, int]]:
    """The ids of the problems that every pool holds, in the first pool's order, and how many each has more.

    Raises:
        ShepherdError: where there are none, or one id stands for two problems.
    """
    names = list(pools)
    problems = {name: {pool.problem.id: pool.problem for pool in each} for name, each in pools.items()}
    for name in names[1:]:
        for identity, problem in problems[name].items():
            first = problems[names[0]].get(identity)
            if first is not None and first.question.split() != problem.question.split():
                raise ShepherdError(
                    f'{name}: problem "{identity}" asks {problem.question[:60]!r}, and in {names[0]} '
                    f"{first.question[:60]!r}; the same problem must have the same id"
                )
    common = [
        identity for identity in problems[names[0]] if all(identity in problems[name] for name in names)
    ]
    if not common:
        raise ShepherdError(f"{' and '.join(names)}: no problem id is in all of them; nothing to compare")
    return common, {name: len(each) - len(common) for name, each in problems.items()}


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


def _on(common: Sequence[str], pools: Sequence[ProblemPool], values: Sequence[Any]) -> list[Any]:
    """The values of the common problems, in their order."""
    at = {pool.problem.id: value for pool, value in zip(pools, values, strict=True)}
    return [at[identity] for identity in common]


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
