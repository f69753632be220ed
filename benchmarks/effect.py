"""Does the verifier beat majority vote? Trains variants, reranks both generators, prints the tables.

    .venv/bin/python benchmarks/effect.py            (about an hour and a half; goes on where it broke off)
    .venv/bin/python benchmarks/effect.py --tables   (only the tables, from benchmarks/results/effect.json)

Variants: the shipped config (nf4) with three seeds, the same without quantization, and a control whose
training labels are shuffled. Design and settings were fixed on the validation split; test is measured here.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from record.effect_tables import GENERATORS, tables
from record.machine import keep, machine

from shepherd.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "effect.json"
VARIANTS: dict[str, tuple[str, ...]] = {
    "seed0": ("seed=0",),
    "seed1": ("seed=1",),
    "seed2": ("seed=2",),
    "lora": ("seed=0", "quantization=none"),
    "shuffled": ("seed=0", "control=shuffled_labels"),
}
PROBLEMS = 500


def train_variant(name: str, work: Path, keys: Sequence[str] = ()) -> Path:
    """Train one variant with the shipped config (and more keys); its run directory is kept and resumed."""
    from shepherd.config import load_config
    from shepherd.runs import Run
    from verifier.config import TrainPrmConfig
    from verifier.training import train

    folder = work / name
    if (folder / "DONE").exists():
        return folder
    if folder.exists():
        run, config = Run.resume(folder, "train-prm", TrainPrmConfig)
    else:
        config = load_config(TrainPrmConfig, "train_prm", "embedded", (*VARIANTS[name], *keys))
        run = Run.create("train-prm", config, folder, {"seed": config.seed})
    started = time.monotonic()
    result = train(config, run)
    write_json(folder / "result.json", {**result.to_json(), "seconds": round(time.monotonic() - started)})
    run.finish()
    return folder


def rerank_generator(
    generator: str, verifier: Path, controls: dict[str, Path], folder: Path, problems: int = PROBLEMS
) -> dict[str, Any]:
    """Rerank one generator's candidates for the first test problems; returns the report."""
    from generation.config import RerankConfig
    from generation.rerank import read_results, rerank
    from shepherd.config import load_config

    pool = folder.parent / f"pool-{generator}.jsonl"
    overrides = [f"model=embedded:{generator}", f"problems.limit={problems}", f"verifier={verifier}", "n=16"]
    overrides += [f"controls.{name}={path}" for name, path in controls.items()]
    if pool.exists():
        overrides.append(f"pool.file={pool}")
    config = load_config(RerankConfig, "rerank", "embedded", overrides)
    if not (folder / "results.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rerank(config, folder, lambda message: click.echo(message, err=True))
    if not pool.exists():
        (folder / "pool.jsonl").rename(pool)
    return read_results(folder)


def step_figures(generator: str, scores: Path, pool: Path, seed: int = 0) -> dict[str, Any]:
    """Step metrics of scores on the candidates, labelled by the exact checker."""
    from eval.steps import step_metrics
    from generation.embedded.checker import Checker
    from generation.embedded.world import generate_problems
    from shepherd import steps as step_text
    from shepherd.records import StepRow, read_pool, read_scores

    problems = {drawn.problem.id: drawn for drawn in generate_problems("test", PROBLEMS, 0)}
    pools = read_pool(pool)
    rows, found = [], []
    for line, scored in zip(pools, read_scores(scores, pools), strict=True):
        drawn = problems[line.problem.id]
        for candidate, values in zip(line.candidates, scored.step_scores, strict=True):
            steps = step_text.split(candidate.text).steps
            if steps:
                labels = tuple(float(verdict.right) for verdict in Checker.of(drawn).check(steps))
                rows.append(StepRow(drawn.problem.question, steps, labels, generator, drawn.problem.id))
                found.append(values)
    return step_metrics(rows, found, seed=seed).to_json()


def measure(work: Path) -> dict[str, Any]:
    """Train, rerank and measure everything; returns what the tables are made of."""
    trained = {name: train_variant(name, work) for name in VARIANTS}
    reports: dict[str, Any] = {}
    for generator in GENERATORS:
        for name in VARIANTS:
            folder = work / f"rerank-{generator}-{name}"
            report = rerank_generator(generator, trained[name], {}, folder)
            report["steps"] = step_figures(
                generator, folder / "scores.jsonl", work / f"pool-{generator}.jsonl"
            )
            reports[f"{generator}/{name}"] = report
    return {
        "training": {name: read_json(folder / "result.json") for name, folder in trained.items()},
        "reports": reports,
    }


def run_small() -> None:
    """Every part of a variant at toy size, in a folder that goes away."""
    small = ("limit=200", "max_steps=1", "eval_limit=40", "tensorboard=false")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        verifier = train_variant("seed0", work, small)
        folder = work / "rerank-weak"
        report = rerank_generator("weak", verifier, {}, folder, problems=10)
        steps = step_figures("weak", folder / "scores.jsonl", work / "pool-weak.jsonl")
    click.echo(json.dumps({"rules": list(report["rules"]), "steps": list(steps)}))


@click.command()
@click.option("--tables", "only_tables", is_flag=True, help="Print the tables of the recorded results.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/effect"), show_default=True)
@click.option("--only", type=click.Choice(list(VARIANTS)), help="Train this variant and stop.")
@click.option("--smoke", is_flag=True, help="One variant, one step, ten problems; nothing is written.")
def main(only_tables: bool, work: Path, only: str | None, smoke: bool) -> None:
    """Measure the effect, or print what was measured."""
    if smoke:
        run_small()
        return
    if only is not None:
        click.echo(train_variant(only, work))
        return
    if not only_tables:
        on = machine()
        keep("effect", on, measure(work))
    results = read_json(RESULTS)
    click.echo(tables(results))
    click.echo(json.dumps(results["machine"]))


if __name__ == "__main__":
    main()
