"""How long the exact curves take, beside enumeration where that can be done and sampling where it cannot.

Run it with ``python benchmarks/curves.py``; ``--problems`` and ``--size`` change the pool. Nothing is
asserted. Times are processor seconds, so that a busy machine does not change them much.

Votes are as real pools have them: the right answer's share of a problem is uniform in [0, 1], 5% of
candidates have no answer, and wrong answers share the rest by a power law, k^-a with a uniform in [0.8, 2]
and 400 wrong answers to choose from. At N = 1,024 that leaves some 90 different answers a problem, most of
them single.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import TypeVar

import numpy as np

from eval.curves import IntArray, best_of, pass_at
from eval.intervals import percentile_intervals
from eval.majority import majority_accuracies
from eval.scores import FloatArray
from eval.weighted import weighted_votes

Result = TypeVar("Result")

WRONG_ANSWERS = 400
RANKINGS = 6


def draw_answers(problems: int, size: int, rng: np.random.Generator) -> IntArray:
    codes = np.empty((problems, size), dtype=np.int64)
    for row in range(problems):
        right = rng.random()
        wrong = np.arange(1, WRONG_ANSWERS + 1) ** -rng.uniform(0.8, 2.0)
        shares = np.concatenate(([right], (1 - right) * wrong / wrong.sum()))
        codes[row] = rng.choice(len(shares), size=size, p=shares)
    codes[rng.random(codes.shape) < 0.05] = -1
    return codes


def timed(what: str, work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    found = work()
    took = time.process_time() - start
    print(f"  {what:<58} {took:9.3f} s")
    return found, took


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    print(f"  {slow / quick:,.0f} times quicker, largest difference {np.abs(exact - listed).max():.1e}\n")


def large_pools(problems: int, size: int, rng: np.random.Generator) -> None:
    ns = [1 << power for power in range(size.bit_length()) if 1 << power <= size]
    print(f"{problems:,} problems, N = {size:,}, n = {ns[0]}, …, {ns[-1]}")
    codes = draw_answers(problems, size, rng)
    right, answered = codes == 0, codes >= 0
    rankings = rng.random((RANKINGS, problems, size)) + 0.3 * right
    before = peak_mib()
    vote, first = timed("majority vote", lambda: majority_accuracies(codes, right, ns))
    ranked, second = timed(
        f"best-of-n by {RANKINGS} scores", lambda: [best_of(by, answered, right, ns) for by in rankings]
    )
    reached, third = timed("pass@n", lambda: pass_at(right.sum(axis=1), size, ns))
    columns = np.hstack([vote, reached, *ranked, *(each - vote for each in ranked)])
    _, fourth = timed(
        f"10,000 resamples of {columns.shape[1]} curve points, paired", lambda: percentile_intervals(columns)
    )
    print(f"  {'together':<58} {first + second + third + fourth:9.3f} s")
    print(f"  peak memory {peak_mib():,.0f} MiB, of which {before:,.0f} MiB for the pool itself\n")

    few = codes[: max(1, problems // 20)]
    n = max(2, size // 16)
    print(f"maj@{n} from N = {size:,}, {len(few)} problems")
    exact, quick = timed("closed form", lambda: majority_accuracies(few, few == 0, [n])[:, 0])
    (mean, error), slow = timed("200 subsets drawn a problem", lambda: sampled(few, n, 200, rng))
    off = np.abs(mean - exact)
    print(
        f"  {slow / quick:.1f} times quicker, and exact: a drawn figure is off by {off.mean():.3f} on average"
    )
    print(f"  {off.max():.3f} at worst; its own standard error is {error.mean():.3f}\n")

    scores = {"min": rankings[0][: len(few)], "mean": rankings[1][: len(few)]}
    ids = [str(row) for row in range(len(few))]
    print(f"weighted votes (which must be drawn below N), {len(few)} problems, 200 subsets, every n")
    timed("by two scores", lambda: weighted_votes(few, few == 0, scores, ns, ids=ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=1319)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    small_pools(rng)
    large_pools(given.problems, given.size, rng)


if __name__ == "__main__":
    main()
