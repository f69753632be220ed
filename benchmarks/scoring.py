"""Scoring a pool: the prefix-tree scorer beside two peers' methods, and beside what it has to cost at least.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/scoring.py     (about 6 minutes)
    .venv/bin/python benchmarks/scoring.py --smoke                                    (seconds; toy sizes)

A Llama of 134 million random weights with 32,000 tokens in its vocabulary reads candidates of real GSM8K
questions (SubQ, 13 each) and of the packaged pool (16 each). The floor is the operations that no exact scorer
can do without (`scorers/counts.py`), at the rate at which this machine multiplies matrices of the model's own
shapes, measured in the same run. Each rival has the batch size that is fastest for it on the first problem,
and one go; ours has the best of three. Peak memory is what tensors hold beyond the weights, for the first two
problems. Results go to benchmarks/results/scoring.json.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from record.hot import top_lines
from record.machine import keep, machine
from record.tables import show
from scorers.counts import Counts, count
from scorers.rate import matmul_rate
from scorers.rivals import Scores, a_step, arrival
from trainers.base import SHAPE, TOY, save_mistral_tokenizer
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from generation import foreign
from shepherd.assets import asset
from shepherd.records import ProblemPool, read_pool
from shepherd.steps import split
from verifier import model as models
from verifier.heads import LabelRows
from verifier.model import TagReader, load_tokenizer
from verifier.packing import attention, passes, room
from verifier.packing.allocations import Allocations
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution, encode, resolve

SIZES = (1, 4, 13, 16)
BUDGET = 16_384
"""As `shepherd score` has it; what is measured of memory and caches makes passes smaller."""
GOES = 3
CLOSE = 1e-5
"""How near to ours the rivals' scores have to be: they compute the same."""
LABELS = (7, 8)
NAMES: dict[Any, str] = {arrival: "as they come, all logits", a_step: "a pass a step"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--problems", type=int, default=6, help="of each pool")
    arguments.add_argument(
        "--profile",
        choices=("before", "between", "after"),
        help="the operations that take longest: in padded batches and new memory; packed; in kept memory too",
    )
    arguments.add_argument(
        "--sweep",
        action="store_true",
        help="the first pool by bytes a pass and tokens a tile, nothing written",
    )
    asked = arguments.parse_args()
    problems = 2 if asked.smoke else asked.problems
    if asked.profile:
        for name, pools in read_pools(asked.smoke).items():
            print(f"\n{name}, {asked.profile}\n{hot(name, pools[:problems], asked.profile, asked.smoke)}")
        return
    if asked.sweep:
        name, pools = next(iter(read_pools(asked.smoke).items()))
        print(f"{name}\n{sweep(name, pools[:problems], asked.smoke)}")
        return
    on = machine()
    found = {
        name: measure(name, pools[:problems], asked.smoke) for name, pools in read_pools(asked.smoke).items()
    }
    result = {"shape": SHAPE, "seed": 0, "problems": problems, "pools": found}
    for table in ("scoring_counts", "scoring", "scoring_rounded"):
        show(table, result)
    if not asked.smoke:
        keep("scoring", on, result)


def read_pools(smoke: bool) -> dict[str, list[ProblemPool]]:
    pools = {"packaged pool, 16 a problem": read_pool(asset("pool"))}
    folder = os.environ.get("SHEPHERD_DATA")
    if folder:
        file = Path(folder) / "candidates" / "subq_chatgpt_n13.jsonl.gz"
        pools = {"SubQ, 13 a problem": list(foreign.read(str(file), "subq").pools)} | pools
    elif not smoke:
        print("SHEPHERD_DATA is not set: no SubQ")
    return pools


def read(name: str, pools: Sequence[ProblemPool], smoke: bool) -> tuple[TagReader, list[EncodedSolution]]:
    """The model, and the candidates as tokens."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(name)
    pairs = [(pool.problem.question, split(each.text).steps) for pool in pools for each in pool.candidates]
    shape = {**TOY, "vocab_size": SHAPE["vocab_size"]} if smoke else SHAPE
    model = LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=shape["num_attention_heads"]))
    reader = TagReader(model.eval(), LabelRows(model.lm_head, *LABELS))
    return reader, list(encode(tokenizer, resolve(tokenizer), pairs))


def hot(name: str, pools: Sequence[ProblemPool], when: str, smoke: bool) -> str:
    if when != "after":
        vars(models)["keep_freed_memory"] = lambda: False
    reader, encoded = read(name, pools, smoke)
    if when == "before":
        reader.__dict__["packs"] = False
        reader.room.tokens = lambda most: most  # type: ignore[method-assign]
    score_packed(reader, encoded[:1], BUDGET)
    return top_lines(partial(score_packed, reader, encoded, BUDGET))


def measure(name: str, pools: Sequence[ProblemPool], smoke: bool) -> dict[str, Any]:
    reader, encoded = read(name, pools, smoke)
    model, solutions = reader.model, [each for each in encoded if len(each.tags)]
    counted = count(solutions, len(pools[0].candidates))
    part = solutions[: 2 * len(pools[0].candidates)]

    def ours(part: Sequence[EncodedSolution] = solutions) -> Scores:
        return score_packed(reader, part, BUDGET)

    ours(part)  # what is found out once: can it pack, how much memory does a token take
    rate = matmul_rate(model)
    floor_s = counted.floor(reader.work) / rate
    seconds, scores = min((timed(ours) for _ in range(GOES)), key=lambda each: each[0])
    share = attention_share(ours)
    row = {"method": "prefix trees", "seconds": seconds, "peak_bytes": peak(partial(ours, part))}
    rows: list[dict[str, Any]] = [row]
    for rival in (arrival, a_step):
        size = fastest(rival, model, solutions[: len(pools[0].candidates)])
        theirs, found = timed(partial(rival, model, solutions, LABELS, size))
        rows.append(
            {
                "method": f"{NAMES[rival]}, {size} a batch",
                "seconds": theirs,
                "peak_bytes": peak(partial(rival, model, part, LABELS, size)),
                "counted_times_ours": getattr(counted, rival.__name__) / counted.unique,
                "largest_difference": difference(scores, found),
            }
        )
    for each in rows[1:]:
        if each["largest_difference"] > CLOSE:
            raise SystemExit(f"{each['method']}: scores differ from ours by {each['largest_difference']:.1e}")
    for each in rows:
        each["of_floor"] = each["seconds"] / floor_s
        each["times_ours"] = each["seconds"] / seconds
    return {
        "counts": counted._asdict(),
        "work": reader.work._asdict(),
        "head_operations_a_token": 2 * SHAPE["vocab_size"] * model.config.hidden_size,
        "logit_bytes_avoided": 4 * SHAPE["vocab_size"] * counted.arrival,
        "matmul_operations_a_second": rate,
        "floor_seconds": floor_s,
        "attention_share": share,
        "pass_tokens": reader.room.tokens(BUDGET),
        "methods": rows,
        "bfloat16": in_bfloat16(reader, encoded, len(pools[0].candidates), scores, counted),
    }


def sweep(name: str, pools: Sequence[ProblemPool], smoke: bool) -> str:
    """Time over the floor, tokens read and peak, by bytes a pass may have and tokens a tile has."""
    reader, encoded = read(name, pools, smoke)
    solutions = [each for each in encoded if len(each.tags)]
    counted = count(solutions, len(pools[0].candidates))
    sequences = [each.ids[: each.tags[-1] + 1] for each in solutions]
    lines = ["  MiB a pass  tokens a pass  a tile  read  of the floor  attention  peak, MiB"]
    for mebibytes, tile in product((64, 256), (32, 64, 128)):
        with (
            patch.object(room, "_CPU_BYTES", mebibytes << 20),
            patch.object(passes.Packed.__init__, "__defaults__", (tile,)),
        ):
            other = TagReader(reader.model, reader.head)
            run = partial(score_packed, other, solutions, BUDGET)
            run()
            floor_s = counted.floor(other.work) / matmul_rate(other.model)
            seconds = min(timed(run)[0] for _ in range(GOES))
            planned = passes.plan_passes(sequences, other.room.tokens(BUDGET), other.work)
            tokens = sum(each.tokens for each in planned)
            lines.append(
                f"  {mebibytes:10} {other.room.tokens(BUDGET):14,} {tile:7} {tokens:5,} "
                f"{seconds / floor_s:13.2f} {attention_share(run):10.0%} {peak(run) / 2**20:10.0f}"
            )
    return "\n".join(lines)


def in_bfloat16(
    reader: TagReader, encoded: Sequence[EncodedSolution], n: int, exact: Scores, counted: Counts
) -> dict[str, Any]:
    """The same weights in bfloat16: its own floor, and what rounding does to scores and to who is chosen.

    A solution alone and a solution in a packed row are both rounded, and neither is the reference: each is
    held against fp32.
    """
    half = TagReader(reader.model.to(torch.bfloat16), reader.head)
    solutions = [each for each in encoded if len(each.tags)]
    score_packed(half, solutions[:n], BUDGET)
    rate = matmul_rate(half.model)
    seconds, packed = min(
        (timed(lambda: score_packed(half, solutions, BUDGET)) for _ in range(GOES)), key=lambda each: each[0]
    )
    alone = [score_packed(half, [each], BUDGET)[0] for each in solutions]
    best = {
        name: chosen(encoded, n, each)
        for name, each in (("fp32", exact), ("packed", packed), ("alone", alone))
    }
    return {
        "matmul_operations_a_second": rate,
        "floor_seconds": counted.floor(reader.work) / rate,
        "seconds": seconds,
        "of_floor": seconds * rate / counted.floor(reader.work),
        "packs": half.packs,
        "largest_difference": {"packed": difference(packed, exact), "alone": difference(alone, exact)},
        "other_choice": {
            name: sum(mine != theirs for mine, theirs in zip(best[name], best["fp32"], strict=True))
            for name in ("packed", "alone")
        },
        "problems": len(best["fp32"]),
    }


def chosen(encoded: Sequence[EncodedSolution], n: int, scores: Scores) -> list[int]:
    """The best candidate of each problem, by the minimum over its steps; one without steps is never it."""
    left = iter(scores)
    least = [float(next(left).min()) if len(each.tags) else -1.0 for each in encoded]
    return [int(np.argmax(least[at : at + n])) for at in range(0, len(least), n)]


def difference(mine: Scores, theirs: Scores) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(mine, theirs, strict=True))


def tokenizer_of(name: str) -> Any:
    """SubQ in Mistral's vocabulary, the packaged pool in its own."""
    if not name.startswith("SubQ"):
        return load_tokenizer("embedded:base")
    with tempfile.TemporaryDirectory() as folder:
        save_mistral_tokenizer(Path(folder))
        return load_tokenizer(folder)


def fastest(rival: Any, model: Any, solutions: Sequence[EncodedSolution]) -> int:
    """The batch size with which a rival reads a problem's candidates in the least time."""
    times = {size: timed(partial(rival, model, solutions, LABELS, size))[0] for size in SIZES}
    return min(times, key=lambda size: times[size])


def timed(run: Callable[[], Scores]) -> tuple[float, Scores]:
    started = time.perf_counter()
    found = run()
    return time.perf_counter() - started, found


def peak(run: Callable[[], Scores]) -> int:
    """The most bytes that tensors hold at one time, beyond those that were there before."""
    gc.collect()
    with Allocations() as counted:
        run()
    found: int = counted.peak
    return found


def attention_share(run: Callable[[], Scores]) -> float:
    """The part of the time that goes into attention over tiles, copies of keys and values among it."""
    spent = 0.0
    plain = attention.attend

    def watched(*arguments: Any, **more: Any) -> Any:
        nonlocal spent
        started = time.perf_counter()
        found = plain(*arguments, **more)
        spent += time.perf_counter() - started
        return found

    AttentionInterface.register(attention.NAME, watched)
    try:
        whole, _ = timed(run)
    finally:
        AttentionInterface.register(attention.NAME, plain)
    return spent / whole


if __name__ == "__main__":
    main()
