"""Make the embedded world's models and data again (``make embedded-models``).

The command is ``python -m generation.embedded.build``. Its stages:

    tokenizer -> weak generator; base and strong generator (two moments of one training)
              -> candidates of all of them for training problems -> rows labelled by the exact checker
              -> a verifier by `shepherd train-prm` -> what is packaged

Each stage leaves its result under ``build/embedded`` and is passed over when it is there, so that a build
that broke off goes on. Everything is seeded; another kind of processor changes the weights in their last
bits.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from generation.config import PromptConfig, SamplerConfig, SamplingConfig
from generation.embedded.label import is_right, label_candidates
from generation.embedded.pretrain import PretrainConfig, pretrain
from generation.embedded.tokenizer import train_tokenizer
from generation.embedded.world import EmbeddedProblem, generate_problems, stream_problems
from shepherd import files
from shepherd import steps as step_text
from shepherd.config import load_config
from shepherd.records import ProblemPool, StepRow, write_pool
from shepherd.runs import Run
from verifier.config import TrainPrmConfig

WORK = Path("build/embedded")
PACKAGED = Path("shepherd/assets/embedded")

TOKENIZER_TEXTS, TOKENIZER_SEED = 20_000, 99
MOMENTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BASE = PretrainConfig(
    layers=6,
    width=128,
    feed_forward=320,
    rows=85_000,
    seed=1,
    weight_decay=0.3,
    exit_layer=4,
    save_shares=MOMENTS,
)
WEAK = PretrainConfig(
    layers=3, width=96, feed_forward=256, rows=90_000, seed=2, twin_share=0.02, save_shares=MOMENTS
)
WEAK_MOMENT, STRONG_MOMENT = "weak", "base/at-0.8"
"""The moments of the trainings that are the generators, chosen on validation problems."""

ROW_PROBLEMS, ROW_SEED = 5_000, 500
TEST_ROW_PROBLEMS, TEST_ROW_N, TEST_ROW_SEED = 300, 4, 503
POOL_PROBLEMS, POOL_N, POOL_TEMPERATURE, POOL_SEED = 100, 16, 0.7, 502


class Source(NamedTuple):
    """One generator's part in the candidates of every training problem."""

    model: str
    temperature: float
    n: int


SOURCES = (
    Source("weak", 1.0, 8),
    Source("weak/at-0.9", 1.0, 4),
    Source("base/at-0.8", 1.0, 3),
    Source("base/at-0.6", 1.0, 3),
)
"""Several generators and moments, so that each question has right and wrong candidates of several minds."""


def build(work: Path) -> None:
    """Run every stage that has not run, and put the results where they are packaged."""
    _stage(work / "tokenizer", _make_tokenizer)
    _stage(work / "weak", lambda folder: _train(WEAK, work, folder))
    _stage(work / "base", lambda folder: _train(BASE, work, folder))
    _stage(work / "rows.jsonl.xz", lambda file: _make_rows(work, file))
    _stage(work / "pool.jsonl.xz", lambda file: _make_pool(work, file))
    _stage(work / "test-rows.jsonl.xz", lambda file: _make_test_rows(work, file))
    for name, source in {"weak": WEAK_MOMENT, "strong": STRONG_MOMENT, "base": "base"}.items():
        _package(work / source, PACKAGED / name)
    _package(work / "tokenizer", PACKAGED / "tokenizer")
    for file in ("rows.jsonl.xz", "pool.jsonl.xz", "test-rows.jsonl.xz"):
        shutil.copy(work / file, PACKAGED / file)
    _stage(work / "verifier", _train_verifier)
    _package(work / "verifier" / "verifier", PACKAGED / "verifier")


def _stage(result: Path, make: Callable[[Path], None]) -> None:
    """Make ``result`` unless it is there; a broken-off attempt leaves only its ``part-``."""
    if result.exists():
        click.echo(f"{result}: there already", err=True)
        return
    click.echo(f"{result}: making it", err=True)
    part = result.with_name(f"part-{result.name}")
    result.parent.mkdir(parents=True, exist_ok=True)
    if part.is_dir():
        shutil.rmtree(part)
    make(part)
    part.rename(result)


def _make_tokenizer(folder: Path) -> None:
    texts = (
        step_text.prompt(drawn.problem.question) + drawn.solution_text
        for drawn in itertools.islice(stream_problems("train", TOKENIZER_SEED), TOKENIZER_TEXTS)
    )
    train_tokenizer(texts).save_pretrained(str(folder))


def _train(config: PretrainConfig, work: Path, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    pretrain(config, tokenizer, folder)
    for model in [folder, *folder.glob("at-*")]:
        tokenizer.save_pretrained(str(model))


def _make_rows(work: Path, file: Path) -> None:
    """Sample every source on the same problems and label each distinct solution; rows in random order."""
    problems = generate_problems("train", ROW_PROBLEMS, ROW_SEED)
    pools = [_sample(work, source, problems, ROW_SEED) for source in SOURCES]
    rows: list[StepRow] = []
    for problem, *found in zip(problems, *pools, strict=True):
        rows.extend(label_candidates(problem, [each for pool in found for each in pool.candidates]))
    random.Random(ROW_SEED).shuffle(rows)
    files.write_jsonl(file, (row.to_json() for row in rows))


def _make_pool(work: Path, file: Path) -> None:
    """The weak generator's candidates for a few validation problems."""
    problems = generate_problems("validation", POOL_PROBLEMS, POOL_SEED)
    write_pool(file, _sample(work, Source(WEAK_MOMENT, POOL_TEMPERATURE, POOL_N), problems, POOL_SEED))


def _make_test_rows(work: Path, file: Path) -> None:
    """Candidates of both generators for test problems, labelled step by step: what `eval-steps` judges on."""
    problems = generate_problems("test", TEST_ROW_PROBLEMS, TEST_ROW_SEED)
    sources = [Source(model, POOL_TEMPERATURE, TEST_ROW_N) for model in (WEAK_MOMENT, STRONG_MOMENT)]
    pools = [_sample(work, source, problems, TEST_ROW_SEED) for source in sources]
    rows = []
    for problem, *found in zip(problems, *pools, strict=True):
        candidates = [each for pool in found for each in pool.candidates]
        for number, row in enumerate(label_candidates(problem, candidates)):
            rows.append(
                {
                    **row.to_json(),
                    "id": f"{row.id}.{number}",
                    "final_answer_correct": is_right(problem, row.steps),
                }
            )
    files.write_jsonl(file, rows)


def _sample(work: Path, source: Source, problems: Sequence[EmbeddedProblem], seed: int) -> list[ProblemPool]:
    from generation.generate import sample_pool

    name = f"{source.model.replace('/', '-')}-{source.temperature:g}-{seed}.jsonl"
    asked = [drawn.problem for drawn in problems]
    config = sampler(work / source.model, source.temperature, seed)
    pools = sample_pool(config, source.n, asked, work / "candidates" / name)
    return [  # named by what they are, not by where this build stands
        replace(pool, candidates=tuple(replace(each, generator=source.model) for each in pool.candidates))
        for pool in pools
    ]


def _train_verifier(folder: Path) -> None:
    """What `shepherd train-prm` does, with the shipped config and no other argument."""
    from verifier.training import train

    config = load_config(TrainPrmConfig, "train_prm", "embedded", ())
    run = Run.create("train-prm", config, folder, {"seed": config.seed})
    train(config, run)
    run.finish()


def _package(source: Path, target: Path) -> None:
    """Copy a folder's own files (not the moments inside it)."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("at-*"))


def sampler(model: Path, temperature: float, seed: int) -> SamplerConfig:
    """How the embedded generators are sampled: the bare question, and the model goes on with `` Step 1:``."""
    return SamplerConfig(
        model=str(model),
        dtype="float32",
        prompt=PromptConfig(template="{question}"),
        sampling=SamplingConfig(temperature=temperature, max_new_tokens=220),
        chunk=1024,
        seed=seed,
    )


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help="Where stages are kept."
)
def main(work: Path) -> None:
    """Make the packaged models and data of the embedded world again."""
    build(work)


if __name__ == "__main__":
    main()
