"""Scoring a pool: the prefix-tree scorer beside two peers' methods, and beside what it has to cost at least.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/scoring.py     (about 10 minutes)
    .venv/bin/python benchmarks/scoring.py --smoke                                    (seconds; toy sizes)

A Llama of 134 million random weights with 32,000 tokens in its vocabulary reads candidates of real GSM8K
questions (SubQ, 13 each) and of the packaged pool (16 each). The floor is the operations that no exact scorer
can do without (`scorers/counts.py`), at the rate at which this machine multiplies matrices of the model's own
shapes, measured in the same run. Each rival has the batch size that is fastest for it. Peak memory is what
tensors hold beyond the weights. Results go to benchmarks/results/scoring.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record.machine import machine
from scorers.counts import count
from scorers.rivals import Scores, a_step, arrival
from transformers import AttentionInterface, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from generation import foreign
from shepherd.assets import asset, resolve_model
from shepherd.files import write_json
from shepherd.records import ProblemPool, read_pool
from shepherd.steps import split
from verifier.heads import LabelRows
from verifier.model import TagReader
from verifier.packing import attention
from verifier.packing.allocations import Allocations
from verifier.packing.score import score_packed
from verifier.tags import EncodedSolution, encode, resolve

RESULTS = Path(__file__).parent / "results" / "scoring.json"
SHAPE: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
TOY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SIZES = (1, 4, 13, 32)
BUDGET = 4096
LABELS = (7, 8)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--problems", type=int, default=12, help="of each pool")
    asked = arguments.parse_args()
    problems = 2 if asked.smoke else asked.problems
    found = {
        name: measure(name, pools[:problems], asked.smoke) for name, pools in read_pools(asked.smoke).items()
    }
    for name, each in found.items():
        print(f"\n{name}\n{table(each)}")
    if not asked.smoke:
        write_json(RESULTS, {"machine": machine(), "shape": SHAPE, "problems": problems, "pools": found})
        print(f"\n{RESULTS}: written")


def read_pools(smoke: bool) -> dict[str, list[ProblemPool]]:
    pools = {"packaged pool, 16 a problem": read_pool(asset("pool"))}
    folder = os.environ.get("SHEPHERD_DATA")
    if folder:
        file = Path(folder) / "candidates" / "subq_chatgpt_n13.jsonl.gz"
        pools = {"SubQ, 13 a problem": list(foreign.read(str(file), "subq").pools)} | pools
    elif not smoke:
        print("SHEPHERD_DATA is not set: no SubQ")
    return pools


def measure(name: str, pools: Sequence[ProblemPool], smoke: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    tokenizer = tokenizer_of(name)
    pairs = [(pool.problem.question, split(each.text).steps) for pool in pools for each in pool.candidates]
    solutions = [each for each in encode(tokenizer, resolve(tokenizer), pairs) if len(each.tags)]
    shape = TOY if smoke else SHAPE
    model = LlamaForCausalLM(
        LlamaConfig(**shape, vocab_size=32_000, num_key_value_heads=shape["num_attention_heads"])
    )
    reader = TagReader(model.eval(), LabelRows(model.lm_head, *LABELS))
    counted = count(solutions, len(pools[0].candidates))
    rate = matmul_rate(model)
    floor_s = counted.floor(reader.work) / rate

    methods: dict[str, Callable[[], Scores]] = {
        "prefix trees": lambda: score_packed(reader, solutions, BUDGET)
    }
    for rival in (a_step, arrival):
        size = fastest(rival, model, solutions)
        methods[f"{rival.__name__}, {size} a batch"] = partial(rival, model, solutions, LABELS, size)
    rows: list[dict[str, Any]] = []
    scores: list[Scores] = []
    for method, run in methods.items():
        seconds, found = timed(run)
        rows.append(
            {"method": method, "seconds": seconds, "of_floor": seconds / floor_s, "peak_bytes": peak(run)}
        )
        scores.append(found)
    for row, other in zip(rows, scores, strict=True):
        row["largest_difference"] = max(
            float(np.abs(mine - theirs).max()) for mine, theirs in zip(scores[0], other, strict=True)
        )
        row["times_ours"] = row["seconds"] / rows[0]["seconds"]
    return {
        "counts": counted._asdict(),
        "work": reader.work._asdict(),
        "head_operations_a_token": 2 * 32_000 * shape["hidden_size"],
        "logit_bytes_avoided": 4 * 32_000 * counted.arrival,
        "matmul_operations_a_second": rate,
        "floor_seconds": floor_s,
        "attention_share": attention_share(methods["prefix trees"]),
        "methods": rows,
    }


def tokenizer_of(name: str) -> Any:
    """SubQ in Mistral's vocabulary, the packaged pool in its own."""
    if not name.startswith("SubQ"):
        return AutoTokenizer.from_pretrained(resolve_model("embedded:base"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(os.environ["SHEPHERD_DATA"]) / "tokenizers" / "mistral_tokenizer.model.v1"
        shutil.copyfile(source, Path(folder) / "tokenizer.model")
        settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
        tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": True}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings | tokens))
        return AutoTokenizer.from_pretrained(folder)


def matmul_rate(model: Any) -> float:
    """Operations a second of the model's largest matrix on 2,048 tokens: the best of 20 goes."""
    layer = model.model.layers[0].mlp.up_proj
    rows = torch.randn(2048, layer.in_features)
    best = float("inf")
    with torch.no_grad():
        for _ in range(20):
            started = time.perf_counter()
            layer(rows)
            best = min(best, time.perf_counter() - started)
    return float(2 * rows.numel() * layer.out_features / best)


def fastest(rival: Any, model: Any, solutions: Sequence[EncodedSolution]) -> int:
    """The batch size with which a rival reads the first solutions in the least time."""
    part = solutions[: 2 * max(SIZES)]
    times = {size: timed(partial(rival, model, part, LABELS, size))[0] for size in SIZES}
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


def table(found: dict[str, Any]) -> str:
    counts = found["counts"]
    over = ", ".join(f"{key} {counts[key] / counts['unique']:.2f}" for key in ("own", "arrival", "a_step"))
    head = (
        f"{counts['solutions']:,} solutions, {counts['tags']:,} steps; {counts['unique']:,} unique tokens, "
        f"over them {over}\n"
        f"floor {found['floor_seconds']:.2f} s at {found['matmul_operations_a_second'] / 1e9:.0f} GFLOP/s; "
        f"attention {100 * found['attention_share']:.0f}% of the time; logits avoided "
        f"{found['logit_bytes_avoided'] / 2**30:.2f} GiB"
    )
    rows = (
        f"  {row['method']:24} {row['seconds']:8.2f} s  {row['of_floor']:6.2f} of the floor  "
        f"{row['times_ours']:6.2f} times ours  {row['peak_bytes'] / 2**20:8.1f} MiB  "
        f"scores within {row['largest_difference']:.1e}"
        for row in found["methods"]
    )
    return "\n".join((head, *rows))


if __name__ == "__main__":
    main()
