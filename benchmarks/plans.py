"""Training by the trainer's own plans, as a user gets it, packed and a row a solution; TRL's SFTTrainer.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/plans.py       (about 20 minutes)
    .venv/bin/python benchmarks/plans.py --smoke                                      (seconds; toy sizes)

`training.py` makes its steps of whole questions. Here they are those that `shepherd train-prm` plans, in its
default order (`group_by: none`) and with `group_by: question`: 32 solutions a step, which is the mean of
`configs/train_prm/embedded.yaml`, read in passes of the default 2,048 tokens, and in larger ones. Model,
adapter, what is counted and what is timed are those of `training.py`; all trainers have the same rows in
every step. What the order costs in learning is in `grouping.py`. Results go to benchmarks/results/plans.json.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from record.machine import keep, machine
from record.tables import show
from trainers import ours, rows, sft
from trainers.base import SHAPE, TOY, save_base
from trainers.beside import PACKED, SFT, UNPACKED, run_all
from trainers.floor import floor_of, timed

from shepherd.records import StepRow
from verifier.prepare import Prepared

OTHER_PASSES = (8192,)
"""Tokens of a pass, beside the default of a CPU: `pass_tokens`."""
COUNTED_STEPS = 200
"""Whose tokens are counted: of a few steps, some have more in common than most."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--steps", type=int, default=2, help="the first is counted, the others are timed")
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    if asked.steps < 2:
        arguments.error("--steps: 2 or more, since the first is not timed")
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    on = machine()
    shape = TOY if asked.smoke else SHAPE
    found = {}
    for name in ("packaged",) if asked.smoke else ("SubQ", "packaged"):
        given = rows.find_rows(name, rows.QUESTIONS if asked.smoke else rows.PLANNED_QUESTIONS)
        if given is None:
            print(f"{name}: left out, since SHEPHERD_DATA is not set")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, given, Path(folder), shape, asked.steps, asked.seed)
    result = {"shape": SHAPE, "seed": asked.seed, "steps": asked.steps, "sources": found}
    show("plans", result)
    if not asked.smoke:
        keep("plans", on, result)


def measure(
    name: str, given: Sequence[StepRow], folder: Path, shape: dict[str, Any], steps: int, seed: int
) -> dict[str, Any]:
    """All trainers on the rows of one source, in each order."""
    base = save_base(shape, rows.SOURCES[name].vocabulary, folder / "base", seed)
    threads = torch.get_num_threads()
    found: dict[str, Any] = {}
    size = 0
    for group_by in rows.GROUPS:
        many = rows.planned(name, given, base, folder, group_by, COUNTED_STEPS, seed)
        plan = replace(many, plan=many.plan[:steps], steps=steps)
        counts = rows.count(many)
        if not size:
            some = replace(plan, plan=[plan.plan[0][::4]])  # short and long ones
            size, _ = ours.best_batch(some, folder, (1, 2, 4, 8))
        print(f"{name}, group_by: {group_by}, {counts.padded_over_unique:.2f} padded tokens a unique one")
        trainings = {
            PACKED: partial(ours.train, plan, folder, packs=True),
            **{
                f"{PACKED}, passes of {tokens:,} tokens": partial(
                    ours.train, in_passes_of(plan, tokens), folder, packs=True
                )
                for tokens in OTHER_PASSES
            },
            UNPACKED: partial(ours.train, plan, folder, packs=False),
            f"{SFT}, batches of {size}": partial(
                sft.train, plan, folder / "sft", size, threads, labels_alone=True
            ),
        }
        floor = floor_of(ours.make_trainer(plan, folder))
        found[group_by] = {
            "counts": counts._asdict(),
            "padded_over_unique": counts.padded_over_unique,
            "padded_over_unique_timed": rows.count(timed(plan)).padded_over_unique,
            "questions_a_step": rows.questions_a_step(many),
            "rows_a_step": rows.ROWS_A_STEP,
            "matmul_operations_a_second": floor.rate,
            "rivals_batch": size,
            "trainings": run_all(trainings, plan, floor),
        }
    return found


def in_passes_of(prepared: Prepared, tokens: int) -> Prepared:
    """The same plan in passes of at most so many tokens."""
    return replace(prepared, config=prepared.config.model_copy(update={"pass_tokens": tokens}))


if __name__ == "__main__":
    main()
