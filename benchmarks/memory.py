"""The memory estimate of ``--dry-run`` against what is allocated when the code runs.

    python benchmarks/memory.py            tracked: real shapes, the real step, no weights (minutes)
    python benchmarks/memory.py --cuda     50 QLoRA steps on a card: peak, tokens/s, the estimate beside them

Tracked runs take the shipped trainer's own step (model code, adapter, 4-bit layers, 8-bit optimizer) under
torch's `FakeTensorMode`, which makes every tensor but its numbers, and count the bytes of all tensors that
are alive. The 4-bit layers are bitsandbytes' own; their packed weights are plain tensors there, since a fake
tensor cannot be one of its classes, and what their compiled kernels allocate inside is not seen; keys and
values are repeated for every head there, as the kernels that run do not (up to 4% more). Sampling
asks its tensors for numbers, so it runs for real, with random weights. Results go to
benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from record.machine import machine
from tracking.stand_in import SHAPES, bases_from, build, fake_tensors

from shepherd.config import load_config
from verifier.config import TrainPrmConfig
from verifier.estimate import (
    GIB,
    Adapter,
    Base,
    Batch,
    Estimate,
    adapted_linears,
    sampling_memory,
    scoring_memory,
)
from verifier.estimate.training import pageable_bytes
from verifier.machine import find_machine
from verifier.packing.allocations import Allocations
from verifier.plan import memory_of
from verifier.prepare import Prepared, prepare
from verifier.shape import Shape
from verifier.training import Trainer

RESULTS = Path(__file__).parent / "results" / "memory.json"
ROWS = ("base=embedded:base", "shape=null", "data=embedded", "tensorboard=false", "early_stopping=null")
"""Rows and tokens of the embedded world stand in for the data: lengths and tags are real."""

TRAININGS = (
    ("llama-3-8b", ()),
    ("mistral-7b", ()),
    ("tinyllama-1.1b", ()),
    ("tinyllama-1.1b", ("gradient_checkpointing=false", "batch_tokens=4096")),
    ("tinyllama-1.1b", ("dtype=float32", "gradient_checkpointing=false", "batch_tokens=4096")),
    ("tinyllama-1.1b", ("quantization=none", "accumulation=1", "batch_tokens=4096")),
    ("tinyllama-1.1b", ("quantization=none", "dtype=float32", "loss=pair", "optimizer=adamw_torch")),
    ("tinyllama-1.1b", ("quantization=nf4-single", "lora.targets=[q_proj, v_proj]", "optimizer=muon")),
)
SCORINGS = (("llama-3-8b", "nf4", "bfloat16"), ("tinyllama-1.1b", "nf4", "float32"))
SAMPLINGS = (("tinyllama-1.1b", "bfloat16", Batch(4, 16, 40, 70, 1.0)),)
CUDA_STEPS, WARM_UP = 50, 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--cuda", action="store_true", help="measure on this machine's card")
    arguments.add_argument("--smoke", action="store_true", help="one tracked scoring; nothing written")
    asked = arguments.parse_args()
    warnings.simplefilter("ignore")
    if asked.smoke:
        tracked_scoring("tinyllama-1.1b", "none", "float32", tokens=512)
        return
    on = machine()
    if asked.cuda and not torch.cuda.is_available():
        sys.exit("benchmarks/memory.py --cuda: torch sees no CUDA device here; run it where there is one")
    found = [cuda_training(name) for name in ("tinyllama-1.1b", "llama-3-8b")] if asked.cuda else tracked()
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    results["cuda" if asked.cuda else "tracked"] = {
        "measured_on": {**on, "device": device(asked.cuda)},
        "runs": found,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"{RESULTS}: written")


def tracked() -> list[dict[str, Any]]:
    found = [tracked_training(name, overrides) for name, overrides in TRAININGS]
    found += [tracked_scoring(*each) for each in SCORINGS]
    return [*found, *(real_sampling(*each) for each in SAMPLINGS)]


def tracked_training(name: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Two optimizer steps of the shipped config with the shape's tensors, none of which has numbers.

    Passes are as large as on a card: up to `batch_tokens`.
    """
    config, prepared = planned(
        name, (*overrides, "limit=600", "max_steps=2", "device=cpu", f"pass_tokens={1 << 20}")
    )
    with fake_tensors(), Allocations() as allocations, bases_from(SHAPES[name], fake=True):
        trainer = make_trainer(prepared)
        gc.collect()
        allocations.restart()
        for step in range(2):
            trainer._step(step)
    return compared("training", name, overrides, estimate_training(config, prepared, name), allocations.peak)


def tracked_scoring(name: str, quantization: str, dtype: str, tokens: int = 16384) -> dict[str, Any]:
    """One pass of the two-row scorer over rows of 512 tokens."""
    shape = SHAPES[name]
    config, prepared = planned(
        name, (f"quantization={quantization}", f"dtype={dtype}", "limit=50", "device=cpu")
    )
    with fake_tensors(), Allocations() as allocations, bases_from(shape, fake=True), torch.no_grad():
        reader = make_trainer(prepared).reader
        reader.model.eval()
        gc.collect()
        allocations.restart()
        ids = torch.zeros(tokens // 512, 512, dtype=torch.long)
        reader.pair_logits(reader.hidden(ids, torch.zeros(tokens // 30, dtype=torch.long)))
    adapter = Adapter(config.lora.rank, adapted_linears(shape, config.lora.targets))
    estimate = scoring_memory(Base(shape, quantization, dtype), adapter, tokens)
    return compared("scoring", name, (quantization, dtype), estimate, allocations.peak)


def real_sampling(name: str, dtype: str, batch: Batch) -> dict[str, Any]:
    """One batch of the transformers engine, with random weights, on the CPU."""
    from transformers import AutoTokenizer

    from generation.engines import Prompt, Sampling
    from generation.engines import transformers as sampler
    from shepherd.assets import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("embedded:base"))
    with Allocations() as allocations:
        model = build(SHAPES[name], quantization="none", dtype=dtype, device=torch.device("cpu"))
        engine = sampler.TransformersEngine(model.eval(), tokenizer, name)
        gc.collect()
        allocations.restart()
        prompts = [Prompt(str(each), "") for each in range(batch.problems)]
        with (
            patch.object(sampler, "encode", lambda *_: list(range(100, 100 + batch.prompt_tokens))),
            patch.object(sampler, "decode", lambda _, rows: [""] * len(rows)),  # ids beyond its vocabulary
        ):
            engine.generate(prompts, batch.n, Sampling(max_new_tokens=batch.new_tokens), seed=0)
    estimate = sampling_memory(Base(SHAPES[name], "none", dtype), batch)
    return compared("sampling", name, (dtype, str(tuple(batch))), estimate, allocations.peak)


def cuda_training(name: str) -> dict[str, Any]:
    """50 steps of the shipped config on the card: random weights of the real shape, the packaged rows."""
    config, prepared = planned(name, ("limit=20000", f"max_steps={CUDA_STEPS}", "device=cuda"))
    with bases_from(SHAPES[name], fake=False):
        trainer = make_trainer(prepared)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    tokens, started, losses = 0, 0.0, []
    for step in range(CUDA_STEPS):
        if step == WARM_UP:
            torch.cuda.synchronize()
            tokens, started = 0, time.monotonic()
        values = trainer._step(step)
        tokens += values["tokens"]
        losses.append(values["loss"])
    torch.cuda.synchronize()
    seconds = time.monotonic() - started
    measured = torch.cuda.max_memory_allocated()
    estimate = estimate_training(config, prepared, name)
    adapter = Adapter(config.lora.rank, adapted_linears(SHAPES[name], config.lora.targets))
    # Paged state is managed memory, which torch's allocator does not see.
    paged = pageable_bytes(adapter, config.optimizer)
    row = compared("training", name, (f"{CUDA_STEPS} steps",), estimate, measured, aside=paged)
    free, whole = torch.cuda.mem_get_info()
    row |= {
        "tokens_per_s": round(tokens / seconds),
        "reserved_bytes": torch.cuda.max_memory_reserved(),
        "used_on_card_bytes": whole - free,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }
    del trainer
    gc.collect()
    torch.cuda.empty_cache()
    return row


def planned(name: str, overrides: tuple[str, ...]) -> tuple[TrainPrmConfig, Prepared]:
    config = load_config(TrainPrmConfig, "train_prm", name, (*ROWS, *overrides))
    return config, prepare(config)


def make_trainer(prepared: Prepared) -> Trainer:
    folder = Path(tempfile.mkdtemp())
    trainer = Trainer(prepared, SimpleNamespace(path=folder, log=lambda _: None, metric=lambda **_: None))
    trainer.model.train()
    return trainer


def estimate_training(config: TrainPrmConfig, prepared: Prepared, name: str) -> Estimate:
    """The dry run's estimate, of the largest forward pass that the plan has."""
    shape: Shape = SHAPES[name]
    adapter = Adapter(config.lora.rank, adapted_linears(shape, config.lora.targets))
    return memory_of(config, prepared, Base(shape, config.quantization, config.dtype), adapter)


def compared(
    what: str, name: str, notes: tuple[str, ...], estimate: Estimate, measured: int, aside: int = 0
) -> dict[str, Any]:
    estimated = estimate.total - aside
    ratio = estimated / measured
    print(
        f"{what:8} {name:15} measured {measured / GIB:6.2f} GiB, estimated {estimated / GIB:6.2f}, "
        f"ratio {ratio:.3f}  {' '.join(notes)}",
        flush=True,
    )
    return {
        "what": what,
        "shape": name,
        "overrides": list(notes),
        "measured_bytes": measured,
        "estimated_bytes": estimated,
        "ratio": round(ratio, 4),
        "parts": {part.name: part.bytes for part in estimate.parts if part.at_peak},
    }


def device(cuda: bool) -> dict[str, Any] | None:
    """What the estimate would be told of the device's memory."""
    found = find_machine("cuda" if cuda else "cpu")
    return None if found is None else found._asdict()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
