"""A verifier trained on real GSM8K texts: does the path run on text that is not ours, and what comes out?

    SHEPHERD_DATA=FOLDER .venv/bin/python benchmarks/real_gsm8k.py      (about 9 minutes on one core)

Rows: SubQ solutions of 1,000 GSM8K test questions (llama13b and chatgpt), labelled by final answer: the last
step has the label, the steps before it have none. Base: the embedded one, which has never seen such text. It
then reranks the chatgpt pool of the other 315 questions. The split is by question. A model of a million
parameters that knows only the embedded world is not expected to judge real arithmetic; the number is reported
as it is.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from record.machine import keep, machine

from eval.grading import grade
from generation import foreign
from shepherd import steps as step_text
from shepherd.files import write_jsonl
from shepherd.records import ProblemPool, StepRow, write_pool

TRAIN_QUESTIONS = 1000


def outcome_rows(pool: ProblemPool) -> list[StepRow]:
    """Rows of a pool's distinct solutions; only the last step has a label: whether the answer is right."""
    rows, seen = [], set()
    for candidate, right in zip(pool.candidates, grade(pool, "subq").right, strict=True):
        steps = step_text.split(candidate.text).steps
        if steps and steps not in seen:
            seen.add(steps)
            labels = (*[None] * (len(steps) - 1), float(right))
            rows.append(StepRow(pool.problem.question, steps, labels, "subq", pool.problem.id))
    return rows


def make_files(data: Path, work: Path, rows_limit: int, seed: int) -> tuple[Path, Path]:
    """Write the training rows of 1,000 questions and the chatgpt pool of the others."""
    chatgpt = foreign.read(str(data / "candidates" / "subq_chatgpt_n13.jsonl.gz"), "subq").pools
    llama = foreign.read(str(data / "candidates" / "subq_llama13b_n13.jsonl.gz"), "subq").pools
    questions = sorted({pool.problem.question for pool in (*chatgpt, *llama)})
    random.Random(seed).shuffle(questions)
    mine = set(questions[:TRAIN_QUESTIONS])
    rows = [row for pool in (*chatgpt, *llama) if pool.problem.question in mine for row in outcome_rows(pool)]
    random.Random(seed).shuffle(rows)
    others = [pool for pool in chatgpt if pool.problem.question not in mine]
    work.mkdir(parents=True, exist_ok=True)
    write_jsonl(work / "rows.jsonl", (row.to_json() for row in rows[:rows_limit]))
    write_pool(work / "pool.jsonl", others)
    return work / "rows.jsonl", work / "pool.jsonl"


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/real_gsm8k"), show_default=True)
@click.option(
    "--rows", "rows_limit", default=4000, show_default=True, help="Training rows, drawn from about 18,000."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--smoke", is_flag=True, help="One step on a few rows, five problems; nothing is written.")
def main(work: Path, rows_limit: int, seed: int, smoke: bool) -> None:
    """Train on real texts and rerank real candidates."""
    data = os.environ.get("SHEPHERD_DATA")
    if not data:
        click.echo("left out, since SHEPHERD_DATA is not set")
        return
    if smoke:
        small = ("max_steps=1", "batch_tokens=2048", "eval_limit=10")
        with tempfile.TemporaryDirectory() as folder:
            run_on(Path(data), Path(folder), 60, seed, small, ("problems.limit=5", "store=false"))
        return
    on = machine()
    keep("real_gsm8k", on, run_on(Path(data), work, rows_limit, seed))


def run_on(
    data: Path,
    work: Path,
    rows_limit: int,
    seed: int,
    training: Sequence[str] = (),
    asking: Sequence[str] = (),
) -> dict[str, Any]:
    """Train and rerank with more keys of their configs; the runs go into `work`. Returns both results."""
    from generation.config import RerankConfig
    from generation.rerank import rerank
    from shepherd.config import load_config
    from shepherd.runs import Run
    from verifier.config import TrainPrmConfig
    from verifier.training import train

    rows, pool = make_files(data, work, rows_limit, seed)
    # Every layer is adapted: the base has never read such text.
    overrides = (f"data={rows}", "max_length=1024", f"seed={seed}", "lora.targets=all-linear", *training)
    config = load_config(TrainPrmConfig, "train_prm", "embedded", overrides)
    stamp = time.strftime("%Y%m%dt%H%M%S")
    run = Run.create("train-prm", config, work / f"train-{stamp}", {"seed": seed}, [rows])
    trained = train(config, run)
    run.finish()
    given = (f"pool.file={pool}", f"verifier={trained.folder}", "answers.style=subq", *asking)
    asked = load_config(RerankConfig, "rerank", "embedded", given)
    reranked = Run.create("rerank", asked, work / f"rerank-{stamp}", {"seed": asked.seed}, [pool])
    report = rerank(asked, reranked.path, reranked.log)
    reranked.finish()
    click.echo(
        json.dumps(
            {key: report[key] for key in ("n", "problems", "pass_at_1", "pass_at_n", "rules", "paired")},
            indent=1,
        )
    )
    return {"training": trained.to_json() | {"folder": ""}, "report": report}


if __name__ == "__main__":
    main()
