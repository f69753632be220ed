"""How long the exact curves, their intervals and their tests take; beside enumeration and beside sampling.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/curves.py      (a minute; writes results/curves.json)
    .venv/bin/python benchmarks/curves.py --smoke                (seconds; a small pool, nothing written)

``--problems`` and ``--size`` change the pool. Nothing is asserted. Two clocks are read: the wall's, which a
busy machine slows down (the load is recorded beside it), and the processor's, which counts the seconds of all
threads. Imports are not counted.

Votes are as real pools have them: the right answer's share of a problem is uniform in [0, 1], 5% of
candidates have no answer, and wrong answers share the rest by a power law, k^-a with a uniform in [0.8, 2]
and 400 wrong answers to choose from. At N = 1,024 that leaves some 90 different answers a problem, most of
them single.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import Any, TypeVar

import numpy as np
from record.machine import keep, machine
from record.tables import show

from eval.curves import IntArray, best_of, pass_at
from eval.estimates import estimate_curves
from eval.intervals import bootstrap_intervals
from eval.majority import majority_accuracies
from eval.rules import Curve
from eval.scores import FloatArray
from eval.sign_flips import FLIPS, sign_flip_p
from eval.weighted import weighted_votes

Result = TypeVar("Result")

WRONG_ANSWERS = 400
SCORES = ("min", "softmin", "prod", "last", "mean")
"""Five best-of-n rules; with majority vote they are the six of the budget."""
RESAMPLES = 10_000


def draw_answers(problems: int, size: int, rng: np.random.Generator) -> IntArray:
    codes = np.empty((problems, size), dtype=np.int64)
    for row in range(problems):
        right = rng.random()
        wrong = np.arange(1, WRONG_ANSWERS + 1) ** -rng.uniform(0.8, 2.0)
        shares = np.concatenate(([right], (1 - right) * wrong / wrong.sum()))
        codes[row] = rng.choice(len(shares), size=size, p=shares)
    codes[rng.random(codes.shape) < 0.05] = -1
    return codes


def timed(what: str, work: Callable[[], Result]) -> tuple[Result, dict[str, float]]:
    wall, processor = time.monotonic(), time.process_time()
    found = work()
    took = {"wall_s": time.monotonic() - wall, "processor_s": time.process_time() - processor}
    print(f"  {what:<58} {took['wall_s']:8.2f} s, {took['processor_s']:8.2f} s of processor")
    return found, {clock: round(seconds, 3) for clock, seconds in took.items()}


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def enumerated(codes: IntArray, n: int) -> FloatArray:
    """maj@n by listing every subset."""
    found = np.zeros(len(codes))
    for row, answers in enumerate(codes):
        for chosen in combinations(answers.tolist(), n):
            votes = np.bincount([each for each in chosen if each >= 0], minlength=1)
            top = votes == votes.max()
            found[row] += bool(votes.max()) * top[0] / top.sum()
    return found / comb(codes.shape[1], n)


def sampled(codes: IntArray, n: int, subsets: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """maj@n by drawing subsets: the mean and its standard error for each problem."""
    mean, error = np.empty(len(codes)), np.empty(len(codes))
    for row, answers in enumerate(codes):
        order = rng.permuted(np.tile(np.arange(len(answers)), (subsets, 1)), axis=1)[:, :n]
        cell = np.where(answers < 0, answers.max() + 1, answers)[order]
        votes = np.zeros((subsets, int(answers.max()) + 2))
        np.add.at(votes, (np.arange(subsets)[:, None], cell), 1)
        votes = votes[:, :-1]
        top = (votes == votes.max(axis=1, keepdims=True)) & (votes > 0)
        right = top[:, 0] / np.maximum(top.sum(axis=1), 1)
        mean[row], error[row] = right.mean(), right.std(ddof=1) / np.sqrt(subsets)
    return mean, error


def small_pools(rng: np.random.Generator) -> None:
    print("maj@8 from N = 16, 20 problems")
    codes = draw_answers(20, 16, rng)
    exact, quick = timed("closed form", lambda: majority_accuracies(codes, codes == 0, [8])[:, 0])
    listed, slow = timed("enumeration of 12,870 subsets", lambda: enumerated(codes, 8))
    times = slow["processor_s"] / max(quick["processor_s"], 1e-3)
    print(f"  {times:,.0f} times quicker, largest difference {np.abs(exact - listed).max():.1e}\n")


def large_pools(problems: int, size: int, seed: int, repeats: int) -> dict[str, Any]:
    """The budgeted work: every rule at every n, its interval and its test, paired with majority vote."""
    rng = np.random.default_rng(seed)
    ns = [1 << power for power in range(size.bit_length()) if 1 << power <= size]
    print(f"{problems:,} problems, N = {size:,}, n = {ns[0]}, …, {ns[-1]}, {1 + len(SCORES)} rules")
    codes = draw_answers(problems, size, rng)
    right, answered = codes == 0, codes >= 0
    rankings = {name: rng.random(codes.shape) + 0.3 * right for name in SCORES}
    before = peak_mib()
    columns = (2 * (2 + len(SCORES)) - 1) * len(ns)

    def once() -> dict[str, Any]:
        load, started, processor = os.getloadavg()[0], time.monotonic(), time.process_time()
        vote, voting = timed("majority vote", lambda: majority_accuracies(codes, right, ns))
        ranked, ranking = timed(
            f"best-of-n by {len(SCORES)} scores",
            lambda: {name: Curve(best_of(by, answered, right, ns)) for name, by in rankings.items()},
        )
        reached, passing = timed("pass@n", lambda: pass_at(right.sum(axis=1), size, ns))
        curves = {"pass_at_n": Curve(reached), "majority": Curve(vote), **ranked}
        _, estimating = timed(
            f"intervals of {columns} columns and tests of {(1 + len(SCORES)) * len(ns)}",
            lambda: estimate_curves(curves, ns, resamples=RESAMPLES, seed=seed),
        )
        wall, processor = time.monotonic() - started, time.process_time() - processor
        print(f"  {'together':<58} {wall:8.2f} s, {processor:8.2f} s of processor; load before {load:.2f}\n")
        return {
            "load_before": round(load, 2),
            "wall_s": round(wall, 3),
            "processor_s": round(processor, 3),
            "majority": voting,
            "best_of_n": ranking,
            "pass_at_n": passing,
            "intervals_and_tests": estimating,
        }

    runs = [once() for _ in range(repeats)]
    print(f"  peak memory {peak_mib():,} MiB, of which {before:,} MiB before, for the pool itself\n")
    return {
        "problems": problems,
        "candidates": size,
        "ns": ns,
        "rules": ["majority", *SCORES],
        "resamples": RESAMPLES,
        "flips": FLIPS,
        "columns": columns,
        "seed": seed,
        "runs": runs,
        "peak_mib": peak_mib(),
        "peak_mib_before": before,
    }


def statistics_alone(problems: int, seed: int) -> dict[str, Any]:
    """What the intervals and the tests take of columns without few sizes, which are the slow ones."""
    values = np.random.default_rng(seed).normal(0.01, 0.3, size=(problems, 132))
    print(f"132 columns of {problems:,} problems")
    _, first = timed(
        f"BCa intervals, {RESAMPLES:,} resamples", lambda: bootstrap_intervals(values, RESAMPLES)
    )
    _, second = timed(f"{FLIPS:,} sign flips", lambda: sign_flip_p(values))
    print()
    return {"columns": 132, "problems": problems, "bca_intervals": first, "sign_flips": second}


def beside_sampling(problems: int, size: int, rng: np.random.Generator) -> None:
    ns = [1 << power for power in range(size.bit_length()) if 1 << power <= size]
    codes = draw_answers(max(1, problems // 20), size, rng)
    n = max(2, size // 16)
    print(f"maj@{n} from N = {size:,}, {len(codes)} problems")
    exact, quick = timed("closed form", lambda: majority_accuracies(codes, codes == 0, [n])[:, 0])
    (mean, error), slow = timed("200 subsets drawn a problem", lambda: sampled(codes, n, 200, rng))
    times, off = slow["processor_s"] / max(quick["processor_s"], 1e-3), np.abs(mean - exact)
    print(f"  {times:.1f} times quicker, and exact: a drawn figure is off by {off.mean():.3f} on average")
    print(f"  {off.max():.3f} at worst; its own standard error is {error.mean():.3f}\n")

    scores = {name: rng.random(codes.shape) + 0.3 * (codes == 0) for name in SCORES[:2]}
    ids = [str(row) for row in range(len(codes))]
    print(f"weighted votes (which must be drawn below N), {len(codes)} problems, 200 subsets, every n")
    timed("by two scores", lambda: weighted_votes(codes, codes == 0, scores, ns, ids=ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=1319)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="of the budgeted work, each with its load")
    parser.add_argument("--smoke", action="store_true", help="a small pool, nothing written")
    given = parser.parse_args()
    on = machine()
    problems, size, repeats = (20, 16, 1) if given.smoke else (given.problems, given.size, given.repeats)
    found = {
        "curves": large_pools(problems, size, given.seed, repeats),
        "statistics": statistics_alone(problems, given.seed),
    }
    rng = np.random.default_rng(given.seed)
    if not given.smoke:  # which lists 12,870 subsets of each
        small_pools(rng)
    beside_sampling(problems, size, rng)
    show("curves", found)
    if not given.smoke:
        keep("curves", on, found)


if __name__ == "__main__":
    main()
