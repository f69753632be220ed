"""One way to ask every sampler, run by the environment that has it.

    python -m samplers.engines JOB.json FOUND.json

batched     the transformers engine of this project
vllm        its vLLM engine, on the same weights
generate    as most people write it: `model.generate(**tokenizer(prompt), do_sample=True,
            num_return_sequences=n)`, a problem after the other

A job is a sampler, a model, problems, n, sampling settings, threads, a seed and how many problems share a
batch. What is found: seconds without loading, seconds of loading, and how the candidates end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shepherd.records import Candidate, Problem


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Sample a job's problems, after a warm-up on the first of them.

    Returns:
        ``load_s``, ``seconds``, ``candidates``, ``tokens`` (the end tokens among them), ``stopped`` (the
        share of candidates that ended by themselves), ``right`` (the share whose answer is the gold one); for
        the batched sampler ``read`` (distinct tokens) and ``floor_s`` (the least that reading them takes).
    """
    import torch

    torch.set_num_threads(job["threads"])
    problems = [Problem(**each) for each in job["problems"]]
    started = time.perf_counter()
    sampler = SAMPLERS[job["sampler"]](job)
    load_s = time.perf_counter() - started
    sampler.sample(problems[:1])
    started = time.perf_counter()
    found = [row for part in _batches(problems, job["batch"]) for row in sampler.sample(part)]
    seconds = time.perf_counter() - started
    counted = sampler.counted(problems) if isinstance(sampler, Batched) else {}
    sampler.close()
    return {"load_s": load_s, "seconds": seconds, **_summary(problems, found), **counted}


class Ours:
    """An engine of `generation.engines`."""

    def __init__(self, job: dict[str, Any]) -> None:
        from generation.config import GenerateConfig
        from generation.engines import Sampling, load_engine

        self.job = job
        self.sampling = Sampling(temperature=job["temperature"], max_new_tokens=job["max_new_tokens"])
        engine = "vllm" if job["sampler"] == "vllm" else "transformers"
        self.engine = load_engine(GenerateConfig(model=job["model"], engine=engine, device="cpu"))

    def sample(self, problems: Sequence[Problem]) -> list[list[Candidate]]:
        """One batch."""
        from generation.config import PromptConfig
        from generation.prompts import prompts_of

        prompts = prompts_of(problems, PromptConfig())
        return self.engine.generate(prompts, self.job["n"], self.sampling, seed=self.job["seed"])

    def close(self) -> None:
        """End what it started."""
        self.engine.close()


class Batched(Ours):
    """The transformers engine."""

    def counted(self, problems: Sequence[Problem]) -> dict[str, float]:
        """Distinct tokens that sampling reads, and the seconds of their operations at this machine's rate."""
        from scorers.rate import matmul_rate

        from generation.config import PromptConfig
        from generation.prompts import prompts_of
        from verifier.heads import LabelRows
        from verifier.model import TagReader
        from verifier.packing.tree import lay_out

        prompts = prompts_of(problems, PromptConfig())
        engine: Any = self.engine
        drawn = engine.draw(prompts, self.job["n"], self.sampling, seed=self.job["seed"])
        model = engine.model
        work = TagReader(model, LabelRows(model.lm_head, 0, 1)).work
        read, pairs, ends = 0, 0, 0
        for row in drawn:
            # the last token of a candidate is not read: nothing comes after it
            (tree,) = lay_out([np.array([*each.prompt, *each.ids[:-1]]) for each in row], budget=1 << 62)
            read += len(tree)
            pairs += int(np.sum(tree.positions + 1))
            ends += len(tree) - len(row[0].prompt) + 1  # where the next token is asked for
        operations = read * work.token + pairs * work.pair + ends * 2 * model.lm_head.weight.numel()
        return {"read": read, "floor_s": operations / matmul_rate(model)}


class Plain:
    """transformers' own `generate`."""

    def __init__(self, job: dict[str, Any]) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        from shepherd.assets import resolve_model

        logging.disable_progress_bar()
        self.job, path = job, resolve_model(job["model"])
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        torch.manual_seed(job["seed"])

    def sample(self, problems: Sequence[Problem]) -> list[list[Candidate]]:
        """A call a problem, or a call a candidate."""
        at_once = 1 if self.job["sampler"] == "generate_one" else self.job["n"]
        return [
            [each for _ in range(0, self.job["n"], at_once) for each in self._call(problem, at_once)]
            for problem in problems
        ]

    def _call(self, problem: Problem, count: int) -> list[Candidate]:
        from generation.engines.texts import decode

        job, end = self.job, self.tokenizer.eos_token_id
        prompt = self.tokenizer(problem.question, return_tensors="pt", return_token_type_ids=False)
        rows = self.model.generate(
            **prompt,
            do_sample=True,
            temperature=job["temperature"],
            top_k=0,
            top_p=1.0,
            max_new_tokens=job["max_new_tokens"],
            num_return_sequences=count,
            pad_token_id=end,
        )
        candidates = []
        for ids in rows[:, prompt["input_ids"].shape[1] :].tolist():
            stopped = end in ids  # what comes after is padding
            ids = ids[: ids.index(end) + 1] if stopped else ids
            (text,) = decode(self.tokenizer, [ids])
            reason = "stop" if stopped else "length"
            candidates.append(
                Candidate(text=text, generator=job["model"], finish_reason=reason, tokens=len(ids))
            )
        return candidates

    def close(self) -> None:
        """Nothing runs beside it."""


SAMPLERS: dict[str, type[Ours] | type[Plain]] = {
    "batched": Batched,
    "vllm": Ours,
    "generate": Plain,
    "generate_one": Plain,
}


def _batches(problems: Sequence[Problem], size: int) -> Iterator[Sequence[Problem]]:
    for at in range(0, len(problems), size):
        yield problems[at : at + size]


def _summary(problems: Sequence[Problem], found: Sequence[Sequence[Candidate]]) -> dict[str, Any]:
    from eval.grading import grade
    from shepherd.records import ProblemPool

    every = [each for row in found for each in row]
    right = [
        verdict
        for problem, row in zip(problems, found, strict=True)
        for verdict in grade(ProblemPool(problem, tuple(row)), "shepherd").right
    ]
    return {
        "problems": len(problems),
        "candidates": len(every),
        "tokens": sum(each.tokens or 0 for each in every),
        "stopped": sum(each.finish_reason == "stop" for each in every) / len(every),
        "right": sum(right) / len(right),
    }


def main() -> None:
    job, found = map(Path, sys.argv[1:])
    found.write_text(json.dumps(run(json.loads(job.read_text("utf-8")))), "utf-8")


if __name__ == "__main__":
    main()
