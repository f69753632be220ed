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
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from generation.config import PromptConfig, SamplerConfig, SamplingConfig
from generation.embedded.label import label_candidates
from generation.embedded.pretrain import PretrainConfig, pretrain
from generation.embedded.tokenizer import train_tokenizer
from generation.embedded.world import Split, generate_problems, stream_problems
from shepherd import files
from shepherd import steps as step_text
from shepherd.records import StepRow, iter_pool

WORK = Path("build/embedded")
PACKAGED = Path("shepherd/assets/embedded")

TOKENIZER_TEXTS, TOKENIZER_SEED = 20_000, 99
MOMENTS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BASE = PretrainConfig(layers=4, width=128, feed_forward=320, rows=250_000, seed=1, save_shares=MOMENTS)
WEAK = PretrainConfig(
    layers=3, width=96, feed_forward=256, rows=120_000, seed=2, twin_share=0.06, save_shares=MOMENTS
)
STRONG_MOMENT = "at-0.5"
"""The moment of the base's training that is the strong generator, chosen on validation problems."""

ROW_PROBLEMS, ROW_SEED = 8_000, 500
HELDOUT_PROBLEMS, HELDOUT_SEED = 300, 501
PACKAGED_PROBLEMS = 2_000
POOL_PROBLEMS, POOL_SEED = 50, 502


class Source(NamedTuple):
    """One generator's part in the candidates of every problem."""

    model: str
    temperature: float
    n: int


SOURCES = (
    Source("weak", 1.0, 6),
    Source("weak/at-0.8", 1.0, 3),
    Source("weak", 0.7, 2),
    Source(f"base/{STRONG_MOMENT}", 1.0, 4),
    Source("base/at-0.3", 1.0, 3),
)
"""Several generators and moments, so that each question has right and wrong candidates of several minds."""


def build(work: Path) -> None:
    """Run every stage that has not run."""
    _stage(work / "tokenizer", _make_tokenizer)
    _stage(work / "weak", lambda folder: _train(WEAK, work, folder))
    _stage(work / "base", lambda folder: _train(BASE, work, folder))
    _stage(work / "rows.jsonl", lambda file: _make_rows(work, file, "train", ROW_PROBLEMS, ROW_SEED))
    _stage(
        work / "heldout.jsonl",
        lambda file: _make_rows(work, file, "validation", HELDOUT_PROBLEMS, HELDOUT_SEED),
    )


def _stage(result: Path, make: Callable[[Path], None]) -> None:
    """Make ``result`` unless it is there; a broken-off attempt leaves only its ``.part``."""
    if result.exists():
        click.echo(f"{result}: there already", err=True)
        return
    click.echo(f"{result}: making it", err=True)
    part = result.with_name(result.name + ".part")
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


def _make_rows(work: Path, file: Path, split: Split, count: int, seed: int) -> None:
    """Sample every source on the same problems and label each distinct solution, in order of problems."""
    from generation.generate import sample_pool

    problems = generate_problems(split, count, seed)
    asked = [drawn.problem for drawn in problems]
    pools = []
    for source in SOURCES:
        path = work / "candidates" / f"{split}-{source.model.replace('/', '-')}-{source.temperature:g}.jsonl"
        sample_pool(sampler(work / source.model, source.temperature, seed), source.n, asked, path)
        pools.append(iter_pool(path))
    rows: list[StepRow] = []
    for problem, *found in zip(problems, *pools, strict=True):
        candidates = [candidate for pool in found for candidate in pool.candidates]
        rows.extend(label_candidates(problem, candidates))
    files.write_jsonl(file, (row.to_json() for row in rows))


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
