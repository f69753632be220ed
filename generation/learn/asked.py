"""The problems of a run that learns: trained on, deciding, asked once at the end; and the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generation.config import ProblemsConfig, ScoredConfig
from generation.generate import load_problems
from generation.inputs import sampling_files
from shepherd.errors import ShepherdError
from shepherd.problems import EMBEDDED, files_of
from shepherd.records import Problem
from shepherd.runs import Run
from verifier.places import input_files

if TYPE_CHECKING:
    from generation.learn.config import MeasureConfig


@dataclass(frozen=True, slots=True)
class Asked:
    """The problems of a run.

    Attributes:
        train: asked while the policy learns.
        validation: decide what is kept, and when to stop.
        test: asked once, before and after.
    """

    train: Sequence[Problem]
    validation: Sequence[Problem]
    test: Sequence[Problem]


def read_asked(problems: ProblemsConfig, settings: MeasureConfig, wanted: int) -> Asked:
    """Read all problems before anything is done, so that a broken line costs no run.

    Args:
        problems: to train on.
        settings: names the validation and the test problems.
        wanted: how many the run asks; the embedded world, which has no end of its own, is drawn to that.

    Raises:
        ShepherdError: with file and line of a problem that cannot be read; where a question stands in two of
            the three.
    """
    if problems.source == EMBEDDED and problems.limit is None:
        problems = problems.model_copy(update={"limit": wanted})
    asked = Asked(*map(load_problems, (problems, settings.validation, settings.test)))
    _check_apart({"training": asked.train, "validation": asked.validation, "test": asked.test})
    return asked


def _check_apart(named: dict[str, Sequence[Problem]]) -> None:
    """No question may stand in two splits; blanks and capitals do not make another question."""
    seen: dict[str, str] = {}
    for name, problems in named.items():
        for each in problems:
            first = seen.setdefault(" ".join(each.question.split()).lower(), name)
            if first != name:
                raise ShepherdError(
                    f"measure: the {name} problem {each.id!r:.40} asks what a {first} problem asks; give "
                    "splits or files that share no question (problems.skip cuts one split into two)"
                )


def create_run(command: str, config: ScoredConfig, settings: MeasureConfig, out: Path | None) -> Run:
    """Make the run directory, with the hashes of the files it depends on and the runs they come from."""
    files = sampling_files(config)
    if config.verifier is not None:
        files += input_files(config.verifier)
    for each in (settings.validation, settings.test):
        files += files_of(each.source, each.split)
    parents = {at: None for file in files for at in file.parents if (at / "manifest.json").is_file()}
    seeds = {"seed": config.seed, "problems": config.problems.seed, "measure": settings.seed}
    run = Run.create(command, config, out, seeds, list(dict.fromkeys(files)), list(parents))
    click.echo(f"run: {run.path}", err=True)
    if config.adapter is not None:
        click.echo(f"update.lora counts for fresh adapters alone: {config.adapter} keeps its own", err=True)
    return run
