"""What keeping freed memory is worth: a forward and backward pass, in kept memory and in new memory.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/heap.py     (7 minutes)
    .venv/bin/python benchmarks/heap.py --smoke               (seconds; toy sizes, nothing written)

A Llama of 134 million random weights with LoRA on all linear layers, rows of 256 tokens, in passes of 1,024
tokens and of 8,192, the trainer's default. `verifier.heap` holds for a whole process, so each go is one of
its own; goes of both kinds alternate. Results go to benchmarks/results/heap.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median
from typing import Any

import torch
from record.machine import keep, machine
from record.tables import show
from trainers.base import SHAPE, TOY
from transformers import LlamaConfig, LlamaForCausalLM

from verifier import model as models
from verifier.config import LoraConfig
from verifier.heads import LabelRows

PASSES = (1024, 8192)
GOES = 2
STEPS = 3
ROW = 256


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy sizes, nothing written")
    arguments.add_argument("--one", nargs=2, metavar=("HOW", "TOKENS"), help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.one:
        print(one(asked.one[0] == "kept", int(asked.one[1]), TOY if asked.smoke else SHAPE))
        return
    on = machine()
    found: dict[str, dict[str, list[float]]] = {}
    for tokens in PASSES[:1] if asked.smoke else PASSES:
        seconds: dict[str, list[float]] = {"kept": [], "new": []}
        for _ in range(GOES):
            for how, mine in seconds.items():
                mine.append(go(how, tokens, asked.smoke))
        found[str(tokens)] = seconds
    result = {"shape": SHAPE, "seed": 0, "passes": found}
    show("heap", result)
    if not asked.smoke:
        keep("heap", on, result)


def go(how: str, tokens: int, smoke: bool) -> float:
    """Seconds of a pass, the median of some in a process of their own."""
    command = [sys.executable, __file__, "--one", how, str(tokens), *(["--smoke"] if smoke else [])]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def one(kept: bool, tokens: int, shape: dict[str, Any]) -> float:
    if not kept:
        vars(models)["keep_freed_memory"] = lambda: False
    models.quiet_bitsandbytes()
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=shape["num_attention_heads"]))
    model = models.add_lora(base, LoraConfig(rank=16, targets="all-linear"), seed=0)
    reader = models.TagReader(model, LabelRows(base.get_output_embeddings(), 7, 8))
    ids = torch.randint(0, shape["vocab_size"], (tokens // ROW, ROW))
    at = torch.arange(0, tokens, 30)
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        reader.pair_logits(reader.hidden(ids, at)).square().mean().backward()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


if __name__ == "__main__":
    main()
