"""Train every head, each in a process of its own, score one pool with each, and put the figures side by side.

A head's training is a run of `shepherd train-prm` inside this run's directory: with its own manifest, resumed
where it was stopped, not repeated once it is done. A process of its own makes the peak memory that head's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import click
import torch

from eval.report import RerankReport, StepScores, evaluate
from eval.significance import judge, paired_difference
from shepherd.assets import asset
from shepherd.config import dump_yaml
from shepherd.errors import ShepherdError
from shepherd.files import atomic_write, read_json, write_json
from shepherd.records import ProblemPool, read_pool, read_scores
from shepherd.runs import DONE, MANIFEST, Run
from verifier import load_verifier
from verifier.compare.config import CompareHeadsConfig, train_config
from verifier.config import HeadKind, TrainPrmConfig
from verifier.description import rule_of
from verifier.pools import score_pool
from verifier.show import RESULT

_CHUNK = 32  # problems scored together; part of the plan


def read_problems(config: CompareHeadsConfig) -> list[ProblemPool]:
    """The pool that all heads rerank."""
    return read_pool(pool_path(config))[: config.limit]


def pool_path(config: CompareHeadsConfig) -> Path:
    """Where the pool lies."""
    return asset("pool") if config.pool == "embedded" else Path(config.pool)


def compare(config: CompareHeadsConfig, run: Run, pools: list[ProblemPool]) -> None:
    """Train, score and measure into ``results.json``; what is finished in the run's directory stays."""
    for number, head in enumerate(config.heads, start=1):
        folder = run.path / head
        if (folder / DONE).exists():
            continue
        click.echo(f"[{number}/{len(config.heads)}] training head {head}", err=True)
        _train(config, head, run.path)
        run.log(f"head {head} trained: {folder}")
    scores: dict[str, StepScores] = {head: _score(config, pools, run.path / head) for head in config.heads}
    report = evaluate(
        pools,
        None,
        answer_style="auto",
        n=config.n,
        extra=scores,
        extra_rules={head: rule_of(head) for head in config.heads},
        seed=config.train.seed,
        bootstrap=config.bootstrap,
    )
    trained = {head: read_json(run.path / head / RESULT) for head in config.heads}
    write_json(run.path / RESULT, side_by_side(report, trained, config))


def side_by_side(
    report: RerankReport, trained: Mapping[HeadKind, Mapping[str, Any]], config: CompareHeadsConfig
) -> dict[str, Any]:
    """Every figure of every head, and each head minus each other on the same problems.

    Args:
        report: of the pool, with a rule by the name of each head.
        trained: the result of each training.
        config: of the comparison.
    """
    heads = {
        head: {
            "rule": rule_of(head),
            "verifier_id": each["verifier_id"],
            "trainable_parameters": each["trainable_parameters"],
            "steps": each["steps"],
            "train_s": each["train_s"],
            "loss_of_a": _summand(train_config(config.train, head)),
            "peak_memory_bytes": each["peak_memory_bytes"],
            "metrics": each["metrics"],
            "best_of_n": report.rules[head].to_json("accuracy"),
            "minus_majority": report.paired[head].to_json("difference"),
            "pool_auc_within_question": report.auc_within_question[head],
        }
        for head, each in trained.items()
    }
    return {
        "pool": config.pool,
        "problems": report.problems,
        "n": report.n,
        "pass_at_1": report.pass_at_1,
        "pass_at_n": report.pass_at_n,
        "majority": report.rules["majority"].to_json("accuracy"),
        "heads": heads,
        "differences": _differences(report, config),
    }


def _summand(config: TrainPrmConfig) -> str:
    """What the held-out loss is the mean over: losses over different things do not compare."""
    if config.head != "outcome":
        return "step"
    return "question" if config.is_pairwise else "solution"


def _differences(report: RerankReport, config: CompareHeadsConfig) -> dict[str, Any]:
    """Each later head minus each earlier one, paired on problems and judged together."""
    pairs = {f"{later}_minus_{earlier}": (later, earlier) for earlier, later in combinations(config.heads, 2)}
    found = {
        name: paired_difference(
            report.per_problem[mine],
            report.per_problem[other],
            resamples=config.bootstrap,
            seed=config.train.seed,
        )
        for name, (mine, other) in pairs.items()
    }
    judged = judge(found, {name: other for name, (_, other) in pairs.items()})
    return {name: each.to_json() for name, each in judged.items()}


def _train(config: CompareHeadsConfig, head: HeadKind, run: Path) -> None:
    """Run `shepherd train-prm`, or go on with it."""
    folder = run / head
    if (folder / MANIFEST).is_file():
        arguments = ["--resume", str(folder)]
    else:
        path = run / f"{head}.yaml"
        with atomic_write(path) as handle:
            handle.write(dump_yaml(train_config(config.train, head)))
        arguments = ["--config", str(path), "--out", str(folder)]
    command = [sys.executable, "-m", "shepherd", "train-prm", *arguments]
    # Its table would stand between ours; its progress and its errors are shown.
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if code:
        raise ShepherdError(
            f"head {head}: its training ended with exit code {code} (said above); when that is mended, go on "
            f"with: shepherd compare-heads --resume {run}"
        )


def _score(config: CompareHeadsConfig, pools: list[ProblemPool], folder: Path) -> StepScores:
    """Step scores of the pool by one head; those that are in its folder stay."""
    path = folder / "scores.jsonl"
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    verifier = load_verifier(str(folder), device=config.train.device)
    score_pool(verifier, pools, path, chunk=_CHUNK, batch_tokens=config.batch_tokens)
    return [[list(each) for each in line.step_scores] for line in read_scores(path, pools)]
