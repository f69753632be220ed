"""`shepherd grpo`: a policy learns from its own completions, weighed group by group (arXiv 2402.03300).

    problems -> completions -> rewards -> gates -> advantages a token -> TRL's steps -> … -> adapter
    sentinels after every generation batch; the test problems once, at the end

What is asked, and which random numbers each completion draws, is fixed by the seed. A run that was killed
goes on from the end of its last checkpointed generation batch and writes the same adapter (CPU, one thread).

Left out on purpose: several GPUs, training of all weights, a reference that moves.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from eval.generators import differences
from generation.learn.grpo.batches import BATCHES, Batches
from generation.learn.grpo.evaluations import ADAPTER, keep, place
from generation.learn.grpo.plot import PICTURE, plot_batches
from generation.learn.grpo.prepare import Prepared
from generation.learn.grpo.standing import Standing
from generation.learn.keep import copy_adapter
from generation.learn.measure import best_temperature, measure_policy
from generation.learn.policy import load_policy, policy_id
from shepherd.files import read_finished
from shepherd.runs import Run
from verifier import model as models
from verifier.optim import make_optimizer


def train(prepared: Prepared, run: Run) -> dict[str, Any]:
    """Train an adapter into ``run.path / "adapter"``, going on where the run stands, and measure it.

    Args:
        prepared: what was fixed before.
        run: gets every file.

    Returns:
        What ``results.json`` holds.
    """
    config = prepared.config
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    for line in prepared.lines():
        run.log(line)
    standing = _learn(prepared, run)
    if prepared.verifier is not None:
        prepared.verifier.unload()  # the test problems are scored by one of their own
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    rows = read_finished(run.path / BATCHES)
    plot_batches(rows, standing.evaluations, run.path / PICTURE, f"{config.model}, {len(rows)} batches")
    adapter = run.path / ADAPTER
    test = _test(prepared, run, adapter)
    return {
        "adapter": ADAPTER,
        "policy": policy_id(config.model, adapter),
        "reference": policy_id(config.model, config.adapter),
        "rollout": prepared.rollout,
        "batches": standing.batch,
        "steps": standing.batch * config.steps_a_batch,
        "rollouts": standing.rollouts,
        "problems_asked": standing.place,
        "groups": dict(sorted(standing.fates.items())),
        "rewards": config.rewards.weights(),
        "first": rows[0],
        "last": rows[-1],
        "evaluations": [each._asdict() for each in standing.evaluations],
        "stopped_by": standing.stopped,
        "test": test,
    }


def _learn(prepared: Prepared, run: Run) -> Standing:
    """Take the generation batches that are left, and write the adapter that is kept."""
    config = prepared.config
    model = load_policy(
        config.model,
        config.update,
        adapter=config.adapter,
        seed=config.seed,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    run.log(models.adapted_share(model))
    batches = Batches(prepared, run, model, make_optimizer(config.update, models.trainable_parameters(model)))
    standing = batches.learn()
    folder = run.path / ADAPTER
    if standing.stopped is None:
        keep(model, prepared.tokenizer, config.model, folder)
    else:
        copy_adapter(place(run.path, standing.stopped["kept_batch"]) / ADAPTER, folder)
    run.log(f"adapter written to {folder}")
    return standing


def _test(prepared: Prepared, run: Run, adapter: Path) -> dict[str, Any]:
    """Ask the test problems, before and after, at the temperature that is best before."""
    config, settings = prepared.config, prepared.config.measure
    folder = run.path / "measures"
    temperature = best_temperature(
        config, settings, prepared.asked.validation, folder / "temperature", run.log
    )
    found = {
        name: measure_policy(
            config,
            each,
            prepared.asked.test,
            folder / name,
            n=settings.n,
            temperature=temperature,
            seed=settings.seed,
            log=run.log,
        )
        for name, each in (("before", config.adapter), ("after", adapter))
    }
    changed = differences(found["after"], found["before"], resamples=settings.bootstrap, seed=settings.seed)
    return {
        "temperature": temperature,
        **{name: each.to_json(settings.bootstrap, settings.seed) for name, each in found.items()},
        "differences": {name: each.to_json() for name, each in changed.items()},
    }
