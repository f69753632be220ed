"""`shepherd demo`: the whole pipeline on the embedded world, each stage beside its budget.

    short training  ->  weak and strong candidates, scored and reranked  ->  two tables and what they show

The tables' rules use the packaged verifier; one row is the verifier that was trained just before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from generation.clock import Clock
from generation.config import DemoConfig, DemoGenerator, RerankConfig
from generation.report_table import print_report, sentence
from generation.rerank import CURVES, RESULTS, read_results, rerank
from shepherd import console
from shepherd.config import load_config
from shepherd.runs import Run
from verifier.config import TrainPrmConfig

SHORT_ROW = "short_training"
"""Name of the row of the verifier that the demo itself trains."""


def demo(config: DemoConfig, run: Run, quiet: bool = False) -> dict[str, Any]:
    """Run the demo into a run directory; finished stages of a resumed run are passed over.

    Args:
        config: Sizes, generators, training and budgets.
        run: Where everything goes: ``verifier/``, ``weak/``, ``strong/``.
        quiet: Print no tables (their JSON is wanted).

    Returns:
        The two reports by generator; ``seconds`` that each stage took, and ``parts``: those of what it is
        made of. A stage that was passed over has no parts.
    """
    stages = _Stages(config.budget_s, run)
    with stages.stage("training", "a short training of a verifier on the packaged rows") as clock:
        short = _train(config, run, clock)
    reports: dict[str, dict[str, Any]] = {}
    chosen = {"weak": config.weak, "strong": config.strong}
    for name, generator in chosen.items():
        with stages.stage(name, f"candidates of the {name} generator, scored and reranked") as clock:
            reports[name] = _rerank(config, generator, short, run, run.path / name, clock)
    if not quiet:
        for name, generator in chosen.items():
            print_report(reports[name], f"{generator.model}, verifier {config.verifier}")
        out = console.stdout()
        out.print(f"{SHORT_ROW}: best of {config.n} by the min of the verifier that this demo trained")
        out.print(verdict(reports["weak"], reports["strong"]))
        for name in chosen:
            out.print(f"picture: {run.path / name / CURVES}")
        out.print(f"files: {run.path}  ({stages.summary()})")
    return {**reports, "seconds": stages.taken, "parts": stages.parts}


def verdict(weak: dict[str, Any], strong: dict[str, Any]) -> str:
    """Say in one sentence what the two tables show, whatever it is."""
    return f"weak generator: {sentence(weak)}; strong generator: {sentence(strong)}"


def _train(config: DemoConfig, run: Run, clock: Clock) -> Path:
    """Train the short verifier, or find it trained."""
    folder = run.path / "verifier"
    if (folder / "verifier.json").exists():
        return folder
    with clock.part("imports"):
        from verifier.training import train  # torch takes seconds to import

    overrides = [*config.training.overrides, f"seed={config.seed}"]
    training = load_config(TrainPrmConfig, "train_prm", config.training.config, overrides)
    started = time.monotonic()
    result = train(training, run)
    taken = time.monotonic() - started
    steps = min(taken, result.train_s)  # which counts those before a resume too
    clock.add("steps", steps)
    clock.add("rows, model, held-out rows", taken - steps)
    run.log(f"short training: {result.steps} steps at {result.tokens_per_s:.0f} tokens/s")
    return result.folder


def _rerank(
    config: DemoConfig, generator: DemoGenerator, short: Path, run: Run, folder: Path, clock: Clock
) -> dict[str, Any]:
    """Sample, score and measure one generator's candidates, or read what was measured."""
    if (folder / RESULTS).exists():
        return read_results(folder)
    measured = RerankConfig(
        model=generator.model,
        sampling=generator.sampling,
        problems=config.problems,
        n=config.n,
        verifier=config.verifier,
        controls={SHORT_ROW: str(short)},
        threads=config.threads,
        chunk=config.chunk,
        seed=config.seed,
        store=False,  # a demonstration computes, and its budgets are about that
    )
    return rerank(measured, folder, run.log, clock=clock)


class _Stages:
    """Says what comes next with its budget, and keeps what each took."""

    COUNT = 3

    def __init__(self, budget_s: dict[str, int], run: Run) -> None:
        self.budget_s, self.run = budget_s, run
        self.taken: dict[str, float] = {}
        self.parts: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Clock]:
        budget = self.budget_s.get(name)
        allowed = "" if budget is None else f" (budget {console.duration(budget)})"
        click.echo(f"[{len(self.taken) + 1}/{self.COUNT}] {what}{allowed}", err=True)
        started, clock = time.monotonic(), Clock()
        yield clock
        taken = time.monotonic() - started
        self.taken[name], self.parts[name] = round(taken, 1), clock.to_json()
        late = "" if budget is None or taken <= budget else f", over its budget of {console.duration(budget)}"
        of = f" ({clock.line()})" if clock.parts else ""
        click.echo(f"      {console.duration(taken)}{of}{late}", err=True)
        self.run.log(f"{name}: {taken:.1f} s{of}{late}")

    def summary(self) -> str:
        """What it took in all."""
        return f"{console.duration(sum(self.taken.values()))} in all"
