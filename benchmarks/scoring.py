"""Scoring a pool: the prefix-tree scorer beside two peers' methods, and beside what it has to cost at least.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/scoring.py           (9 minutes)
    .venv/bin/python benchmarks/scoring.py --device cuda --shape llama-3-8b --quantization nf4   (on a card)
    .venv/bin/python benchmarks/scoring.py --smoke                                    (seconds; toy sizes)

A Llama of random weights reads candidates of real GSM8K questions (SubQ, 13 each) and of the packaged pool
(16 each): 134 million weights and 32,000 tokens in its vocabulary, or `--shape`. The floor is the operations
that no exact scorer can do without (`scorers/counts.py`), at the rate at which this machine multiplies
matrices of the model's own shapes, measured in the same run (`scorers/rate.py`).

Each rival has the batch size that is fastest for it, and as many goes as ours, whose best counts: three. One
has not: a go of "a pass a step" takes longer on a CPU than all of ours, so there it has one, its sizes are
tried on four candidates and its memory is watched on one problem (`terms`). What bfloat16 does to scores is
held against fp32 with the same weights, and on the packaged pool with the packaged verifier, which is trained
(`scorers/rounding.py`).

On a card everything has three goes, whole pools are watched, and FlexAttention reads the same rows beside
our tiles (`scorers/flex.py`). Results go to benchmarks/results/scoring.json; those of a card to
scoring-cuda.json, one entry for a shape, a quantization and a dtype; other shapes on a CPU are shown and not
kept.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from record.hot import top_lines
from record.machine import keep, keep_entry, machine
from record.tables import show
from scorers.beside import BUDGET, CLOSE, GOES, Setting, measure, read
from scorers.clock import attention_share, best_of, peak
from scorers.counts import count
from scorers.rate import matmul_rate
from scorers.rounding import trained
from trainers.base import SHAPES

from generation import foreign
from shepherd.assets import asset
from shepherd.records import ProblemPool, read_pool
from verifier.model import TagReader
from verifier.packing import passes, room
from verifier.packing.score import score_packed

Pools = Mapping[str, Sequence[ProblemPool]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--problems", type=int, help="of each pool; 6, on a card 64")
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--shape", choices=tuple(SHAPES), default="134m", help="of the model")
    arguments.add_argument("--quantization", choices=("none", "nf4"), default="none")
    arguments.add_argument(
        "--dtype", choices=tuple(CLOSE), help="float32, on a card bfloat16, where nothing is said"
    )
    arguments.add_argument(
        "--profile",
        choices=("before", "after"),
        help="the operations that take longest: in padded batches; packed",
    )
    arguments.add_argument(
        "--sweep",
        action="store_true",
        help="the first pool by bytes a pass and tokens a tile, nothing written",
    )
    asked = arguments.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks/scoring.py --device cuda: torch sees no CUDA device here; run it where there is one"
        )
    pools = {
        name: pools[: asked.problems or (2 if asked.smoke else 64 if asked.device == "cuda" else 6)]
        for name, pools in read_pools(asked.smoke).items()
    }
    dtype = asked.dtype or ("bfloat16" if asked.device == "cuda" else "float32")
    setting = Setting(asked.shape, asked.quantization, dtype, asked.device)
    if asked.smoke:
        setting = Setting("toy", device=asked.device)
    if asked.profile:
        for name, some in pools.items():
            print(f"\n{name}, {asked.profile}\n{hot(name, some, asked.profile, setting)}")
    elif asked.sweep:
        name, some = next(iter(pools.items()))
        print(f"{name}\n{sweep(name, some, setting)}")
    elif asked.smoke:
        compare(setting, pools)
        compare_more(setting, pools)
        compare_more(setting._replace(quantization="nf4", dtype="bfloat16"), pools)
    elif setting == Setting():
        on = machine()
        keep("scoring", on, compare(setting, pools))
    else:
        on = machine()
        found = compare_more(setting, pools)
        if setting.on_card:
            keep_entry("scoring-cuda", ", ".join(setting[:3]), on, found)


def compare(setting: Setting, pools: Pools) -> dict[str, Any]:
    """What results/scoring.json has: every pool with random weights, and rounding with trained ones."""
    found = {name: measure(name, some, setting, flex=False) for name, some in pools.items()}
    problems = max(map(len, pools.values()))
    whole = read_pool(asset("pool"))
    result = {
        "shape": setting.sizes,
        "seed": 0,
        "problems": problems,
        "pools": found,
        "trained": trained(whole[:problems] if setting.shape == "toy" else whole, BUDGET),
    }
    for table in ("scoring_counts", "scoring", "scoring_rounded", "scoring_trained"):
        show(table, result)
    return result


def compare_more(setting: Setting, pools: Pools) -> dict[str, Any]:
    """What results/scoring-cuda.json has of one shape: every pool, and FlexAttention beside our tiles."""
    found = {name: measure(name, some, setting, flex=True) for name, some in pools.items()}
    run = {**setting._asdict(), "sizes": setting.sizes, "seed": 0, "pools": found}
    result = {"entries": {", ".join(setting): {"machine": machine(), **run}}}
    for table in ("scoring_cuda_counts", "scoring_cuda"):
        show(table, result)
    return run


def read_pools(smoke: bool) -> dict[str, list[ProblemPool]]:
    pools = {"packaged pool, 16 a problem": read_pool(asset("pool"))}
    folder = os.environ.get("SHEPHERD_DATA")
    if folder:
        file = Path(folder) / "candidates" / "subq_chatgpt_n13.jsonl.gz"
        pools = {"SubQ, 13 a problem": list(foreign.read(str(file), "subq").pools)} | pools
    elif not smoke:
        print("SHEPHERD_DATA is not set: no SubQ")
    return pools


def hot(name: str, pools: Sequence[ProblemPool], when: str, setting: Setting) -> str:
    reader, encoded = read(name, pools, setting)
    if when == "before":
        reader.__dict__["packs"] = False
        reader.room.tokens = lambda most: most  # type: ignore[method-assign]
    score_packed(reader, encoded[:1], BUDGET)
    return top_lines(partial(score_packed, reader, encoded, BUDGET))


def sweep(name: str, pools: Sequence[ProblemPool], setting: Setting) -> str:
    """Time over the floor, tokens read and peak, by bytes a pass may have and tokens a tile has."""
    reader, encoded = read(name, pools, setting)
    solutions = [each for each in encoded if len(each.tags)]
    counted = count(solutions, len(pools[0].candidates))
    sequences = [each.ids[: each.tags[-1] + 1] for each in solutions]
    lines = ["  MiB a pass  tokens a pass  a tile  read  of the floor  attention  peak, MiB"]
    for mebibytes, tile in product((64, 256), (32, 64, 128)):
        with (
            patch.object(room, "CPU_BYTES", mebibytes << 20),
            patch.object(passes.Packed.__init__, "__defaults__", (tile,)),
        ):
            other = TagReader(reader.model, reader.head)
            run = partial(score_packed, other, solutions, BUDGET)
            run()
            floor_s = counted.floor(other.work) / matmul_rate(other.model)
            seconds = best_of(GOES, run, other.device)[0]
            planned = passes.plan_passes(sequences, other.room.tokens(BUDGET), other.work)
            tokens = sum(each.tokens for each in planned)
            lines.append(
                f"  {mebibytes:10} {other.room.tokens(BUDGET):14,} {tile:7} {tokens:5,} "
                f"{seconds / floor_s:13.2f} {attention_share(run, other.device):10.0%} "
                f"{peak(run, other.device) / 2**20:10.0f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
