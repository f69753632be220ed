"""What the learning loop gains, against its ablation, GRPO and fine-tuning on what was accepted.

    .venv/bin/python benchmarks/learning.py                     (all of it, hours; goes on where it broke off)
    .venv/bin/python benchmarks/learning.py --arm dagger --seed 0
    .venv/bin/python benchmarks/learning.py --tables            (writes benchmarks/results/learning.json)

The primary metric was fixed before the runs: greedy pass@1 on the test problems. Sampled pass@1 is measured
at the untrained policy's best validation temperature, so that mere sharpening does not count. Settings were
chosen on the validation split. Every arm has the loop's number of rollouts, but those that a sentinel
stops and the bad starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from record.learning_tables import between_table, gain_table, rounds_table
from record.machine import keep, machine

from eval.figures import percent
from eval.generators import Measured, differences
from eval.significance import PerProblem, compare_paired
from generation.generate import load_problems
from generation.learn.measure import best_temperature, measure_policy
from shepherd.files import read_finished, read_json, write_json, write_jsonl

SEEDS = (0, 1, 2)
LOOPS = {"dagger": ("--dagger",), "alone": ("--no-dagger",)}
PROCESS = ("rewards.outcome=0", "rewards.process=1")
WHOLE = ("sentinels.accuracy_fall=null",)
"""Not stopped where the verifier is fooled, so that every arm has all its rollouts."""
GRPO: dict[str, tuple[str, ...]] = {
    "grpo-outcome": ("rewards.outcome=1", "rewards.process=0"),
    "grpo-process-deepseek": (*PROCESS, *WHOLE, "process_form=deepseek"),
    "grpo-process-min": (*PROCESS, *WHOLE, "process_form=min"),
    "grpo-process-min-until": (*PROCESS, *WHOLE, "process_form=min", "process_credit=until"),
    "grpo-process-min-stopped": (*PROCESS, "process_form=min"),
    "grpo-hybrid": (
        "rewards.outcome=1",
        "rewards.process=1",
        "process_form=min",
        "gates.hybrid_weight=0.5",
        "gates.hybrid_baseline=1.0",  # half of what both rewards can give
    ),
}
ACCEPTED = "sft-accepted"
GATES = {
    "bad-gates": ("gates.minimum_quality=0.5", "gates.max_resamples=1"),
    "bad-no-gates": (
        "gates.zero_variance=false",
        "gates.max_resamples=0",
        "gates.absolute_epsilon=0",
        "gates.relative_epsilon=0",
    ),
}
BAD_ROLLOUTS, BAD_SHARE = 4096, 0.05
ARMS = (*LOOPS, *GRPO, ACCEPTED, *GATES)
KEYS: list[str] = []
"""More keys of every loop's config; ``--smoke`` has some."""
SMALL = (
    "rounds=1", "problems_a_round=16", "n=4", "sampling.temperature=1.3", "update.steps=2",
    "update.batch_size=4", "update.lora.rank=4", "pairs.margin=0.1", "measure.validation.limit=8",
    "measure.test.limit=8", "measure.n=2", "measure.temperatures=[0.5]", "measure.bootstrap=200",
    "store=false",
)  # fmt: skip


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("runs/learning"), show_default=True, help="Runs."
)
@click.option("--arm", "arms", multiple=True, type=click.Choice(ARMS), help="Only these.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Only these.")
@click.option("--tables", is_flag=True, help="Run nothing; compare what is finished.")
@click.option("--smoke", is_flag=True, help="One loop of one round on a few problems; nothing is written.")
def learning(work: Path, arms: Sequence[str], seeds: Sequence[int], tables: bool, smoke: bool) -> None:
    """Measure what learning from the verifier gains: run what is not finished, then compare all of it."""
    if smoke:
        KEYS.extend(SMALL)
        with tempfile.TemporaryDirectory() as folder:
            _run_arm("dagger", 0, Path(folder))
            _show(compare(Path(folder)))
        return
    if not tables:
        for seed in seeds or SEEDS:
            for arm in arms or ARMS:
                _run_arm(arm, seed, work)
    if tables or not (arms or seeds):
        on = machine()
        result = compare(work)
        keep("learning", on, result)
        _show(result)


def _run_arm(arm: str, seed: int, work: Path) -> None:
    folder = work / f"{arm}-{seed}"
    if (folder / "DONE").exists():
        return
    if arm == ACCEPTED:
        _fine_tune_on_accepted(seed, work, folder)
    elif arm in LOOPS:
        _shepherd(folder, "dpo-loop", *LOOPS[arm], "--seed", str(seed), *_set(KEYS))
    else:
        keys: list[str] = [*GRPO.get(arm, ()), *GATES.get(arm, ())]
        keys.append(f"rollouts={rollouts()}")
        if arm in GATES:
            keys += [f"adapter={bad_start(work)}", f"rollouts={BAD_ROLLOUTS}"]
        _shepherd(folder, "grpo", *_set(keys), "--seed", str(seed))


def _shepherd(folder: Path, command: str, *arguments: str) -> None:
    """Run a command into a folder, or go on with it; its wall time is kept beside its outputs."""
    resumed = (folder / "manifest.json").exists()
    where = ("--resume", str(folder)) if resumed else (*arguments, "--out", str(folder))
    started = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "shepherd", command, *where], env=environment, check=False)
    legs = read_json(folder / "took.json")["seconds"] if (folder / "took.json").exists() else 0.0
    seconds = round(legs + time.monotonic() - started, 1)
    write_json(folder / "took.json", {"seconds": seconds, "resumed": resumed, "exit": done.returncode})


def _set(keys: Sequence[str]) -> list[str]:
    return [part for key in keys for part in ("--set", key)]


def rollouts() -> int:
    """How many candidates the loop rolls out in all."""
    config = _loop_config(0)
    return int(config.rounds * config.problems_a_round * config.n)


def _loop_config(seed: int) -> Any:
    from generation.learn.loop.config import DpoLoopConfig
    from shepherd.config import load_config

    return load_config(DpoLoopConfig, "dpo_loop", "embedded", [f"seed={seed}", *KEYS])


def _fine_tune_on_accepted(seed: int, work: Path, folder: Path) -> None:
    """Rejection-sampling fine-tuning: `shepherd sft` on the untrained policy's accepted solutions.

    Of each training problem of the loop the best of as many rollouts is accepted, where the verifier gives
    its weakest step at least what the loop asks of a good step.
    """
    from eval.scores import solution_scores
    from generation.generate import sample_pool
    from generation.learn.asked import read_asked
    from generation.learn.measure import as_policy
    from generation.scored import score_pool
    from shepherd.answers import extract

    config = _loop_config(seed)
    data = work / f"accepted-{seed}.jsonl"
    if not data.exists():
        wanted = config.rounds * config.problems_a_round
        problems = read_asked(config.problems, config.measure, wanted).train
        sampler = as_policy(config, None, temperature=config.sampling.temperature, seed=seed)
        pools = sample_pool(sampler, config.n, problems, work / f"accepted-{seed}.pool.jsonl")
        scores = score_pool(pools, "embedded", work / f"accepted-{seed}.scores.jsonl", config, _say)
        rows = []
        for pool, steps in zip(pools, scores, strict=True):
            each = solution_scores(steps, "min")
            best = int(np.argmax(each))
            text = pool.candidates[best].text
            if each[best] >= config.pairs.good_step and extract(text, "auto") is not None:
                rows.append({"question": pool.problem.question, "solution": text})
        write_jsonl(data, rows)
    _shepherd(
        folder, "sft", "--data", str(data), "--seed", str(seed), *_set(["limit=null", "learning_rate=0.001"])
    )


def bad_start(work: Path) -> Path:
    """A generator of under 5% pass@1: the weak one, fine-tuned on the solutions of other questions."""
    from generation.embedded.world import generate_problems

    folder, data = work / "bad-start", work / "bad-start.jsonl"
    if not data.exists():
        drawn = generate_problems("train", 2_000, 99)
        rows = [
            {"question": mine.problem.question, "steps": list(other.solution)}
            for mine, other in zip(drawn, drawn[1:] + drawn[:1], strict=True)
        ]
        write_jsonl(data, rows)
    if not (folder / "DONE").exists():
        _shepherd(
            folder, "sft", "--data", str(data), *_set(["limit=null", "learning_rate=0.002", "max_steps=60"])
        )
    return folder


def compare(work: Path) -> dict[str, Any]:
    """Compare the finished arms with the untrained policy and with each other, on the test problems.

    Returns:
        What ``results/learning.json`` has beside the machine.
    """
    measured: dict[str, Measured] = {}
    runs: dict[str, dict[str, Any]] = {}
    for name in (f"{arm}-{seed}" for arm in ARMS for seed in SEEDS):
        folder = work / name
        if (folder / "DONE").exists():
            measured[name] = _measured(work, name, _adapter(folder))
            runs[name] = {**_beside(folder), "test": measured[name].to_json()}
    if not runs:
        raise click.ClickException(f"{work}: no finished run; see benchmarks/learning.py --help")
    before = {False: _measured(work, "before", None)}
    if any(name.startswith("bad-") for name in runs):
        before[True] = _measured(work, "bad-before", bad_start(work))
        if (share := before[True].mean("greedy")) >= BAD_SHARE:
            raise click.ClickException(f"the bad start solves {percent(share)}%: it is not bad enough")
    for name, each in measured.items():
        found = differences(each, before[name.startswith("bad-")])
        runs[name]["minus_before"] = {metric: one.to_json() for metric, one in found.items()}
    return {
        "rollouts": rollouts(),
        "before": {"bad" if bad else "weak": each.to_json() for bad, each in before.items()},
        "runs": runs,
        "between": _between(measured),
    }


def _show(result: Mapping[str, Any]) -> None:
    for table in (gain_table, between_table, rounds_table):
        click.echo(table(result) + "\n")


def _adapter(folder: Path) -> Path | None:
    """What a run ended with: of a loop the last round, so that both loops have as many optimizer steps."""
    rounds = sorted((folder / "adapters").glob("round-*"))
    kept = rounds[-1] if rounds else folder / "adapter"
    return kept if kept.exists() else None


def _measured(work: Path, name: str, adapter: Path | None) -> Measured:
    """Measure a policy on the loop's test problems, at the untrained policy's best temperature."""
    config = _loop_config(0)
    settings = config.measure
    problems = load_problems(settings.test)
    validation = load_problems(settings.validation)
    temperature = best_temperature(config, settings, validation, work / "temperatures", _say)
    return measure_policy(
        config,
        adapter,
        problems,
        work / "measured" / name,
        n=settings.n,
        temperature=temperature,
        seed=settings.seed,
        log=_say,
    )


def _beside(folder: Path) -> dict[str, Any]:
    """What a run says of itself: seconds, and round by round what was watched."""
    took = folder / "took.json"
    found: dict[str, Any] = {"seconds": read_json(took)["seconds"] if took.exists() else None}
    result = read_json(folder / "results.json")
    if "rounds" in result:
        found["kept_round"] = result["kept_round"]
        found["rounds"] = [
            {
                "validation_greedy": each["validation"]["greedy"]["accuracy"],
                "pairs": each["pairs"],
                "union": each["union"],
                "alarms": each["alarms"],
                **each["watched"],
            }
            for each in result["rounds"]
        ]
        found["kept_test"] = result["test"]["differences"]
        found["probe_loss_spread"] = result["probe_loss_spread"]
    if (folder / "batches.jsonl").exists():
        rows = read_finished(folder / "batches.jsonl")
        rewards = [float(row["reward_process"]) for row in rows if "reward_process" in row]
        fifth = len(rewards) // 5
        if fifth:
            found["step_reward"] = {
                name: round(float(np.mean(part)), 4)
                for name, part in (("first_fifth", rewards[:fifth]), ("last_fifth", rewards[-fifth:]))
            }
    for key in ("groups", "stopped_by", "rollouts"):
        if key in result:
            found[key] = result[key]
    return found


def _between(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Arms against arms, seed by seed and over the seeds' means of each problem."""
    against = [("dagger", "alone"), *((arm, "dagger") for arm in (*GRPO, ACCEPTED)), tuple(GATES)]
    found = {}
    for mine, theirs in against:
        seeds = [seed for seed in SEEDS if {f"{mine}-{seed}", f"{theirs}-{seed}"} <= set(measured)]
        if not seeds:
            continue
        of = {arm: [measured[f"{arm}-{seed}"] for seed in seeds] for arm in (mine, theirs)}
        means = {
            arm: PerProblem(each[0].ids, np.mean([one.accuracy["greedy"] for one in each], axis=0))
            for arm, each in of.items()
        }
        found[f"{mine} minus {theirs}"] = {
            "seeds": seeds,
            "by_seed": [
                differences(*pair)["greedy"].value for pair in zip(of[mine], of[theirs], strict=True)
            ],
            **compare_paired(means[mine], means[theirs]).to_json(),
        }
    return found


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    learning()
