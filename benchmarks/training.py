"""Training a verifier: this project's trainer beside TRL's SFTTrainer and its last PRMTrainer.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/training.py    (about 15 minutes)
    make .venv-trl113/.ready                   (once: the environment of TRL 1.13, which had a PRMTrainer)
    .venv/bin/python benchmarks/training.py --smoke                                   (seconds; toy sizes)
    .venv/bin/python benchmarks/training.py --device cuda --shape llama-3-8b          (a real shape on a card)

A Llama of 134 million random weights with 32,000 tokens in its vocabulary is trained with LoRA of rank 16 on
all linear layers, in fp32, without dropout or checkpointing of activations, by AdamW at a constant rate. All
have the same weights, the same adapter, the same rows in every step; the rivals' batch is the smallest that
is about as fast as any, its rows sorted by length. Their memory is counted for the whole step as one batch
too, which is what a pass of ours holds. That they compute the same loss is seen in the first step,
before anything moved, and in all that follow. SFTTrainer has the language model's head and labels that mask
all but the tags. On a GPU, TRL 1.16 puts only labelled positions through the head; on a CPU all of them,
which takes longer than the rest. It is measured both ways; the first is what to compare with. PRMTrainer has
a classifier head.

The first step's tensors are counted (bytes beyond the weights, the optimizer's state included), the other
steps are timed. Rows: SubQ's solutions of GSM8K questions, 12 of each; the packaged rows, 8 of each; and the
seven Math-Shepherd rows that are at hand, which share nothing. These steps are whole questions; those of the
trainer's own plans are in `plans.py`. Each is held beside its floor, the least that its steps can take
(`trainers/floor.py`). Results go to benchmarks/results/training.json.

With `--device cuda` it is the plans of `plans.py` at a real model's shape (`trainers/card.py`); results go to
benchmarks/results/training-cuda.json, an entry a shape and quantization.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from record.hot import top_lines
from record.machine import keep, keep_entry, machine
from record.tables import show
from trainers import card, ours, rows, sft
from trainers.base import SHAPE, SHAPES, TOY, save_base
from trainers.beside import PACKED, RECOMPUTED, SFT, UNPACKED, recomputing, run_all
from trainers.floor import floor_of
from trainers.watch import Watched

from shepherd.files import read_json
from shepherd.records import StepRow
from verifier.batches import EncodedRow
from verifier.prepare import Prepared

ROOT = Path(__file__).parents[1]
TRL113 = ROOT / ".venv-trl113"
PRM = "PRMTrainer (TRL 1.13)"
SFT_ON_CPU = "SFTTrainer as it is on a CPU"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--steps", type=int, default=2, help="the first is counted, the others are timed")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument(
        "--profile",
        action="store_true",
        help="the operations that take longest, unpacked and packed",
    )
    arguments.add_argument(
        "--compile", action="store_true", help="ten steps with torch.compile and without, nothing written"
    )
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    on_card = arguments.add_argument_group("with --device cuda")
    on_card.add_argument("--shape", choices=SHAPES, default="llama-3-8b")
    on_card.add_argument("--quantization", choices=("none", "nf4"), default="nf4")
    on_card.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    on_card.add_argument("--rows", type=int, default=rows.ROWS_A_STEP, help="a step; fewer on a smaller card")
    asked = arguments.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if asked.steps < 2:
        arguments.error("--steps: 2 or more, since the first is not timed")
    if asked.profile:
        profile(TOY if asked.smoke else SHAPE, asked.seed)
        return
    if asked.compile:
        compiled(TOY if asked.smoke else SHAPE, asked.seed)
        return
    if asked.device == "cuda":
        measure_on_card(asked)
        return
    on = machine()
    has_prm = (TRL113 / ".ready").is_file()
    if not has_prm:
        print("no .venv-trl113, so no PRMTrainer; make it with: make .venv-trl113/.ready")
    found = {}
    for name in ("packaged",) if asked.smoke else rows.SOURCES:
        each = rows.find_rows(name)
        if each is None:
            print(f"{name}: left out, since SHEPHERD_DATA is not set")
            continue
        with tempfile.TemporaryDirectory() as folder:
            shape = TOY if asked.smoke else SHAPE
            found[name] = measure(name, each, Path(folder), shape, asked.steps, asked.seed, has_prm)
    result = {"shape": SHAPE, "seed": asked.seed, "steps": asked.steps, "sources": found}
    show("training", result)
    if asked.smoke:
        try_card(asked.seed)
    else:
        keep("training", on, result)


def measure_on_card(asked: argparse.Namespace) -> None:
    """A shape and a quantization, beside those that were measured before."""
    if not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no CUDA device on this machine; nothing was measured")
    on = machine()
    name, given = first_rows(rows.PLANNED_QUESTIONS)
    setting = card.Setting(SHAPES[asked.shape], asked.quantization, asked.dtype, "cuda")
    found = card.measure(setting, name, given, size=asked.rows, steps=asked.steps, seed=asked.seed)
    entry = f"{asked.shape}, {asked.quantization}"
    show("training_cuda", {"entries": {entry: {"machine": on, **found}}})
    keep_entry("training-cuda", entry, on, found)


def try_card(seed: int) -> None:
    """What runs on a card, at toy size on a processor."""
    given = rows.find_rows("packaged")
    assert given is not None
    entries = {}
    for quantization, dtype in (("none", "float32"), ("nf4", "bfloat16")):
        setting = card.Setting(TOY, quantization, dtype, "cpu")
        found = card.measure(setting, "packaged", given, size=8, steps=2, seed=seed)
        entries[f"toy, {quantization}"] = {"machine": machine(), **found}
    show("training_cuda", {"entries": entries})


def profile(shape: dict[str, Any], seed: int) -> None:
    """Where the second step's time goes, on the first source at hand."""
    name, given = first_rows()
    with tempfile.TemporaryDirectory() as folder:
        base = save_base(shape, rows.SOURCES[name].vocabulary, Path(folder) / "base", seed)
        plan = rows.plan(name, given, base, Path(folder), "lm", 2, seed)
        for method in (UNPACKED, PACKED):
            trainer = ours.make_trainer(plan, Path(folder))
            if method == UNPACKED:
                trainer.reader.packs = False
            trainer._step(0)
            print(f"\n{name}, {method}\n{top_lines(lambda: trainer._step(1))}")  # noqa: B023


def compiled(shape: dict[str, Any], seed: int) -> None:
    """The body under torch.compile, lengths dynamic, rows padded: the first step's time, and the others'."""
    source, given = first_rows()
    with tempfile.TemporaryDirectory() as folder:
        base = save_base(shape, rows.SOURCES[source].vocabulary, Path(folder) / "base", seed)
        plan = rows.plan(source, given, base, Path(folder), "lm", 6, seed)
        for name in ("eager", "compiled"):
            trainer = ours.make_trainer(plan, Path(folder))
            trainer.reader.packs = False
            if name == "compiled":
                trainer.reader.body = torch.compile(trainer.reader.body, dynamic=True)
            seconds = []
            for step in range(plan.steps):
                started = time.perf_counter()
                trainer._step(step)
                seconds.append(time.perf_counter() - started)
            first, *others = seconds
            print(f"{name}: first step {first:.1f} s, the {len(others)} after it {sum(others):.1f} s")


def first_rows(questions: int = rows.QUESTIONS) -> tuple[str, list[StepRow]]:
    """The first source at hand, and its rows."""
    return next((name, found) for name in rows.SOURCES if (found := rows.find_rows(name, questions)))


def measure(
    name: str, given: Any, folder: Path, shape: dict[str, Any], steps: int, seed: int, has_prm: bool
) -> dict[str, Any]:
    """All trainers on the rows of one source."""
    base = save_base(shape, rows.SOURCES[name].vocabulary, folder / "base", seed)
    plan = rows.plan(name, given, base, folder, "lm", steps, seed)
    counts = rows.count(plan)
    a_step = len(plan.plan[0])
    sizes = [size for size in (1, 2, 4, 8, a_step) if a_step % size == 0]
    size, tried = ours.best_batch(plan, folder, sizes)
    print(
        f"{name}: {counts.rows} rows in {plan.steps} steps, {counts.padded_over_unique:.2f} padded "
        f"tokens a unique one; rivals have {size} rows a batch",
        flush=True,
    )
    threads = torch.get_num_threads()
    versions: dict[str, str] = {}
    floors = {"lm": floor_of(ours.make_trainer(plan, folder))}
    first = replace(plan, plan=plan.plan[:1], steps=1)

    def sft_of(part: Prepared, rows_a_batch: int, labels_alone: bool = True) -> Watched:
        return sft.train(part, folder / "sft", rows_a_batch, threads, labels_alone=labels_alone)

    trainings: dict[str, dict[str, Callable[[], Watched]]] = {
        "lm": {
            PACKED: lambda: ours.train(plan, folder, packs=True),
            UNPACKED: lambda: ours.train(plan, folder, packs=False),
            RECOMPUTED: lambda: ours.train(recomputing(plan), folder, packs=True),
            f"{SFT}, batches of {size}": lambda: sft_of(plan, size),
        }
    }
    if name != "Math-Shepherd":  # which is there to show what is left where nothing is shared
        if size < a_step:
            trainings["lm"][f"{SFT}, one batch of {a_step}"] = lambda: sft_of(first, a_step)
        if name == "packaged":
            trainings["lm"][f"{SFT_ON_CPU}, batches of {size}"] = lambda: sft_of(plan, size, False)
        if has_prm:
            classes = rows.plan(name, given, base, folder, "classifier", steps, seed)
            floors["classifier"] = floor_of(ours.make_trainer(classes, folder))
            start = replace(classes, plan=classes.plan[:1], steps=1)
            trainings["classifier"] = {
                PACKED: lambda: ours.train(classes, folder, packs=True),
                f"{PRM}, batches of {size}": lambda: prm(classes, folder, size, threads, versions),
            }
            if size < a_step:
                trainings["classifier"][f"{PRM}, one batch of {a_step}"] = lambda: prm(
                    start, folder, a_step, threads, versions
                )
    heads = {}
    for head, methods in trainings.items():
        print(f"  {head}")
        heads[head] = run_all(methods, plan, floors[head])
    return {
        "rows_a_step": a_step,
        "counts": counts._asdict(),
        "padded_over_unique": counts.padded_over_unique,
        "matmul_operations_a_second": floors["lm"].rate,
        "rivals_batch": size,
        "seconds_by_batch": tried,
        "prm_versions": versions,
        "heads": heads,
    }


def prm(plan: Prepared, folder: Path, size: int, threads: int, versions: dict[str, str]) -> Watched:
    """PRMTrainer, in its own environment, from our classifier's weights and our adapter."""
    trainer = ours.make_trainer(plan, folder)
    base = folder / "classes"
    # Its names are those of the language model but for the head, so the body loads from there.
    settings_of = transformers.LlamaConfig.from_pretrained(
        plan.config.base, num_labels=2, classifier_dropout=0.0
    )
    classes = transformers.LlamaForTokenClassification.from_pretrained(plan.config.base, config=settings_of)
    assert trainer.head is not None
    with torch.no_grad():
        # our first row is good; PRMTrainer's labels are 0 for a wrong step and 1 for a right one
        classes.score.weight.copy_(trainer.head.weight.flip(0))
        classes.score.bias.copy_(trainer.head.bias.flip(0))
    classes.save_pretrained(base)
    plan.tokenizer.save_pretrained(folder / "tokenizer")
    trainer.model.save_pretrained(folder / "adapter")
    # peft wraps by task; the one of language models wants a method that this model has not
    settings = folder / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text("utf-8")), "task_type": None}))
    parts = rows.rows_of(plan)
    job = {
        "base": str(base),
        "adapter": str(folder / "adapter"),
        "tokenizer": str(folder / "tokenizer"),
        "folder": str(folder / "prm"),
        "allocations": str(ROOT / "verifier" / "packing" / "allocations.py"),
        "rows": [classified(row) for part in parts for row in part],
        "rows_a_step": len(parts[0]),
        "size": size,
        "steps": plan.steps,
        "rate": plan.config.learning_rate,
        "threads": threads,
        "seed": plan.config.seed,
    }
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run(
        [
            str(TRL113 / "bin" / "python"),
            "-m",
            "trainers.prm",
            str(folder / "job.json"),
            str(folder / "found"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks"), "TRL_EXPERIMENTAL_SILENCE": "1"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = read_json(folder / "found")
    versions |= found["versions"]
    return Watched(found["losses"], found["seconds"], found["peak_bytes"])


def classified(row: EncodedRow) -> dict[str, list[int]]:
    """A row as PRMTrainer takes it: a class at each tag, which its own output predicts."""
    labels = [-100] * len(row.ids)
    for at, label in zip(row.tags.tolist(), row.labels.tolist(), strict=True):
        labels[at] = int(label)
    return {"input_ids": row.ids.tolist(), "labels": labels}


if __name__ == "__main__":
    main()
