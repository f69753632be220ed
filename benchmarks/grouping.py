"""What `group_by: question` costs in learning and saves in time: the embedded verifier in both orders.

    .venv/bin/python benchmarks/grouping.py            (about 12 minutes, one thread as its config says)
    .venv/bin/python benchmarks/grouping.py --smoke    (half a minute; a few steps, nothing written)

The shipped config (`configs/train_prm/embedded.yaml`) trains on all packaged rows for as many steps as
`shepherd demo` does, with 32 solutions in every step, which is its own mean. (The demo's part of the rows has
two of a question.) For each seed: the default order; questions kept together, and at most four solutions of
each kept together, both as many steps and so many steps that they take the processor time of the default
order. Each has its whole learning-rate curve, and all of a seed are judged on the same held-out rows.
Processor time is that of the steps alone: neither reading rows nor judging is in it. Results go to
benchmarks/results/grouping.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record.machine import keep, machine
from record.tables import show
from trainers import ours, rows

from generation.config import DemoConfig
from shepherd.config import load_config
from verifier.config import TrainPrmConfig
from verifier.prepare import prepare

SEEDS = (0, 1)
ORDERS = {
    "question": ("group_by=question",),
    "question, 4 at most": ("group_by=question", "question_solutions=4"),
}
METRICS = ("auc", "auc_within_question")
KEYS = (
    f"batch_solutions={rows.ROWS_A_STEP}",
    "batch_tokens=16384",  # no step is cut by its tokens
    "tensorboard=false",
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="a few steps, nothing written")
    arguments.add_argument("--steps", type=int, default=demo_steps(), help="of the default order")
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    asked = arguments.parse_args()
    warnings.simplefilter("ignore")
    steps, seeds = (3, [0]) if asked.smoke else (asked.steps, asked.seeds)
    keys = ("limit=8000", "eval_limit=200") if asked.smoke else ()
    config = load_config(TrainPrmConfig, "train_prm", "embedded", ())
    torch.set_num_threads(config.threads or torch.get_num_threads())
    on = machine()
    result = {"steps": steps, "seeds": [measure(seed, steps, keys) for seed in seeds]}
    show("grouping", result)
    if not asked.smoke:
        keep("grouping", on, result)


def demo_steps() -> int:
    """Optimizer steps of the verifier that `shepherd demo` trains."""
    training = load_config(DemoConfig, "demo", "embedded", ()).training
    config = load_config(TrainPrmConfig, "train_prm", training.config, training.overrides)
    assert config.max_steps is not None
    return config.max_steps


def measure(seed: int, steps: int, keys: tuple[str, ...]) -> dict[str, Any]:
    """One seed: the default order, and the others at equal steps and at equal processor time."""
    default = train(seed, steps, keys)
    runs = {"none": default}
    for name, order in ORDERS.items():
        same_steps = train(seed, steps, (*keys, *order))
        ratio = default["processor_s"] / same_steps["processor_s"]
        runs |= {
            f"{name}; as many steps": same_steps,
            f"{name}; as much time": train(seed, round(steps * ratio), (*keys, *order)),
        }
    return {"seed": seed, "runs": runs}


def train(seed: int, steps: int, keys: tuple[str, ...]) -> dict[str, Any]:
    """One training, what it took and how good it is on held-out rows."""
    chosen = (*KEYS, *keys, f"seed={seed}", f"max_steps={steps}")
    config = load_config(TrainPrmConfig, "train_prm", "embedded", chosen)
    prepared = prepare(config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours.make_trainer(prepared, Path(folder))
        taken_s, read, tokens = 0.0, 0, 0
        for step in range(prepared.steps):
            started = time.process_time()
            found = trainer._step(step)
            taken_s += time.process_time() - started
            read, tokens = read + found["tokens_read"], tokens + found["tokens"]
        metrics = trainer._measure(trainer._evaluate())
    print(f"{', '.join(chosen[len(KEYS) :])}: {taken_s:.0f} s, loss {metrics['loss']:.4f}", flush=True)
    return {
        "steps": prepared.steps,
        "solutions": int(sum(map(len, prepared.plan))),
        "questions": len(np.unique(prepared.train.questions[np.concatenate(prepared.plan)])),
        "processor_s": taken_s,
        "read_share": read / tokens,
        "heldout_rows": len(prepared.heldout.rows),
        "loss": metrics["loss"],
        **{name: metrics[name]["value"] for name in METRICS},
    }


if __name__ == "__main__":
    main()
