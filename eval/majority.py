"""maj@n: majority vote of n from a pool of N candidates, exact over all C(N, n) subsets, ties at random.

The right answer has r votes in the pool, wrong answer i has v_i, and some candidates have no answer. A
subset is right if the right answer has j votes in it and no wrong answer has more; with t wrong answers
that also have j it is right with chance 1 / (1 + t). In generating polynomials, where x counts candidates
and y marks ties:

    Σ_{j≥1} C(r, j) [x^(n-j)] ∫₀¹ ∏_i ( Σ_{a<j} C(v_i, a) x^a + y C(v_i, j) x^j ) (1 + x)^missing dy

because 1 / (1 + t) is the integral of y^t over [0, 1]. Three things make this exact and quick at N = 1,024:

* Scale. A random subset of n is N coin flips with p = n / N, given that n came up. So every C(v, a) becomes a
  binomial probability, nothing exceeds 1, and one division by P(n came up), which is never small, gives the
  answer.
* The coefficient of x^(n-j) is read off by a Fourier sum over L points of the unit circle. Coefficients that
  are L apart alias, and their mass is that of a binomial total off by L, so L of a few standard deviations
  (some 140 points for N = 1,024, not 1,025) leaves less than `NEGLIGIBLE`.
* Groups. Equal vote counts are one factor and a power; an answer that cannot reach j votes in the subset (but
  for a chance below `NEGLIGIBLE`) joins the plain factor (1 + x)^…; the polynomial in y is integrated by
  Gauss-Legendre with as many points as make it exact for the number of answers that can tie at j.

What is left is rounding: the tests hold it to 1e-12 of rational arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from eval.curves import BoolArray, IntArray, rank_weights
from eval.scores import FloatArray

ComplexArray = npt.NDArray[np.complex128]

NEGLIGIBLE = 1e-18
"""Probabilities below this are dropped: a hundred of them are below a double's last digit of an accuracy."""

_BLOCK = 1 << 19  # complex numbers held at once (8 MiB) while the rows of one problem are worked through
_SMALL = 1 << 12  # complex numbers below which a block costs its calls, not its arithmetic
_TABLED = 1 << 19  # complex numbers in a table of powers, of one n (8 MiB)
_KEPT = 48  # vote counts up to this come again in other problems: their factors are kept (4 MiB an n)


@lru_cache(maxsize=64)
def _legendre(points: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights on [0, 1], exact for polynomials of degree ``2 * points - 1``."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


def binomial(trials: int, p: float) -> FloatArray:
    """Binomial probabilities by the ratio of neighbours from the mode outwards; shape ``(trials + 1,)``."""
    counts = np.arange(1, trials + 1)
    ratios = (trials - counts + 1) / counts * (p / (1 - p))
    mode = min(int((trials + 1) * p), trials)
    up = np.cumprod(ratios[mode:])
    down = np.cumprod(1 / ratios[:mode][::-1])[::-1]
    mass: FloatArray = np.concatenate((down, [1.0], up))
    mass /= mass.sum()
    return mass


@dataclass(frozen=True, slots=True)
class _Votes:
    """Votes that one answer has in the subset: chance of each number, of at least and of at most as many."""

    mass: FloatArray
    at_least: FloatArray
    at_most: FloatArray


class _Plan:
    """What all problems of one (N, n) share: the circle's points, and the vote counts met so far."""

    def __init__(self, size: int, n: int) -> None:
        self.size, self.n, self.p = size, n, n / size
        total = binomial(size, self.p)
        self.mass = float(total[n])
        likely = np.flatnonzero(total > NEGLIGIBLE)
        reach = int(max(n - likely[0], likely[-1] - n)) + 1
        self.points = reach + 1 - reach % 2  # odd: zero is the only frequency without a mirror image
        self.frequencies = np.arange(self.points // 2 + 1)
        self.mirror = np.where(self.frequencies == 0, 1.0, 2.0) / self.points
        self.circle: ComplexArray = np.exp(2j * np.pi * np.arange(self.points) / self.points)
        plain: ComplexArray = 1 - self.p + self.p * self.circle[self.frequencies]
        self.plain = plain
        # The powers of (1 + x): as a table where it is small, as numpy's power goes through logarithms.
        tabled = np.tile(plain, (size + 1, 1)) if (size + 1) * len(plain) <= _TABLED else plain[None][:0]
        tabled[:1] = 1
        self._plain_powers = np.asarray(np.cumprod(tabled, axis=0), dtype=np.complex128)
        turns = np.multiply.outer(np.arange(self.points), self.frequencies) % self.points
        self._turned: ComplexArray = self.circle[turns]
        self._votes: dict[int, _Votes] = {}
        self._factors: dict[int, tuple[ComplexArray, ComplexArray]] = {}

    def votes(self, count: int) -> _Votes:
        """The distribution of the votes that an answer with ``count`` votes in the pool has in the subset."""
        if count not in self._votes:
            mass = binomial(count, self.p)
            self._votes[count] = _Votes(mass, np.cumsum(mass[::-1])[::-1], np.cumsum(mass))
        return self._votes[count]

    def plain_powers(self, exponents: IntArray) -> ComplexArray:
        """The plain factor to each exponent; shape ``(len(exponents), frequencies)``."""
        if len(self._plain_powers):
            return self._plain_powers[exponents]
        different, where = np.unique(exponents, return_inverse=True)
        return np.asarray((self.plain ** different[:, None])[where], dtype=np.complex128)

    def powers(self, exponents: IntArray) -> ComplexArray:
        """ω^exponent at each frequency; shape ``(len(exponents), frequencies)``."""
        return self._turned[exponents % self.points]

    def factors(self, count: int, first: int, last: int) -> tuple[ComplexArray, ComplexArray]:
        """Below j and exactly at j, for j in [first, last]: the two coefficients of an answer's factor."""
        if count > _KEPT:
            return self._make_factors(count, first, last)
        if count not in self._factors:
            self._factors[count] = self._make_factors(count, 0, count)
        below, exactly = self._factors[count]
        return below[first : last + 1], exactly[first : last + 1]

    def _make_factors(self, count: int, first: int, last: int) -> tuple[ComplexArray, ComplexArray]:
        mass = self.votes(count).mass
        low = min(int(np.argmax(mass > NEGLIGIBLE)), first)
        exactly = mass[low : last + 1, None] * self.powers(np.arange(low, last + 1))
        below = np.zeros_like(exactly)
        np.cumsum(exactly[:-1], axis=0, out=below[1:])
        return below[first - low :], exactly[first - low :]


@lru_cache(maxsize=64)
def _plan(size: int, n: int) -> _Plan:
    return _Plan(size, n)


@dataclass(frozen=True, slots=True)
class _Active:
    """Wrong answers with ``votes`` in the pool, ``times`` of them, contesting the rows [start, stop)."""

    votes: int
    times: int
    start: int
    stop: int


def majority_accuracy(right: int, wrong: Sequence[int], missing: int, ns: Sequence[int]) -> FloatArray:
    """maj@n of one problem for each n.

    Args:
        right: votes of the right answer in the pool (0 if nobody has it).
        wrong: votes of each wrong answer, each at least 1, in any order.
        missing: candidates without an answer: drawn into subsets, never voting.
        ns: sizes of subset, each in [1, N] with ``N = right + sum(wrong) + missing``.

    Returns:
        Shape ``(len(ns),)``.

    Example:
        >>> majority_accuracy(2, [1, 1], 0, [1, 2, 4]).round(4).tolist()
        [0.5, 0.5, 1.0]
        >>> majority_accuracy(1, [1], 0, [2]).tolist()  # a tie
        [0.5]
    """
    size = right + sum(wrong) + missing
    if right < 0 or missing < 0 or min(wrong, default=1) < 1 or not all(1 <= n <= size for n in ns):
        raise ValueError(
            f"votes {right} right, {wrong} wrong, {missing} without answer: no subset of {list(ns)}"
        )
    counts, times = np.unique(np.asarray(wrong, dtype=np.int64), return_counts=True)
    sizes = [(int(v), int(m)) for v, m in zip(counts, times, strict=True)]
    return np.array([_accuracy(right, sizes, size, n) for n in ns])


def majority_accuracies(codes: IntArray, right: BoolArray, ns: Sequence[int]) -> FloatArray:
    """maj@n of many problems with pools of one size; equal vote counts are worked out once.

    Args:
        codes: one integer an answer, -1 for none; shape ``(problems, N)``.
        right: shape ``(problems, N)``; all candidates with a problem's right answer.
        ns: sizes of subset.

    Returns:
        Shape ``(problems, len(ns))``.
    """
    known: dict[tuple[int, int, tuple[int, ...]], FloatArray] = {}
    out = np.empty((len(codes), len(ns)))
    for row, (answers, is_right) in enumerate(zip(codes, right, strict=True)):
        votes = np.bincount(answers[(answers >= 0) & ~is_right])
        wrong = tuple(np.sort(votes[votes > 0]).tolist())
        profile = (int(is_right.sum()), int((answers < 0).sum()), wrong)
        if profile not in known:
            known[profile] = majority_accuracy(profile[0], wrong, profile[1], ns)
        out[row] = known[profile]
    return out


def _accuracy(right: int, sizes: Sequence[tuple[int, int]], size: int, n: int) -> float:
    """maj@n for wrong answers given as (votes, how many answers have that many), ascending."""
    if right == 0:
        return 0.0
    if n == 1:
        return right / size
    if n == size:
        above = sum(times for votes, times in sizes if votes > right)
        return 0.0 if above else 1 / (1 + sum(times for votes, times in sizes if votes == right))
    if not sizes:
        return float(rank_weights(size, n)[:right].sum())
    plan = _plan(size, n)
    chance = plan.votes(right).mass
    rows = np.arange(1, min(right, n) + 1)
    rows = rows[n - rows <= size - right]
    # A row is worth at most its own chance times that of the largest wrong answer not being above it; an
    # answer takes part in the rows in which it can be level or above. Both are judged jointly with the row's
    # chance, which is what bounds the loss.
    largest = sizes[-1][0]
    worth = np.flatnonzero(chance[rows] * plan.votes(largest).at_most[np.minimum(rows, largest)] > NEGLIGIBLE)
    if not len(worth):
        return 0.0
    rows = rows[worth[0] : worth[-1] + 1]
    first, odds = int(rows[0]), chance[rows[0] : rows[-1] + 1]
    active = []
    for votes, times in reversed(sizes):
        able = plan.votes(votes).at_least[first : first + len(rows)]
        part = (odds[: len(able)] * able > NEGLIGIBLE).nonzero()[0]
        if not len(part):
            break  # the smaller ones reach j even less
        active.append(_Active(votes, times, int(part[0]), int(part[-1]) + 1))
    # Above the contested rows any total of the others will do, and their binomial says how likely it is.
    stop = max((answer.stop for answer in active), default=0)
    found = _contest(plan, right, rows[:stop], active)
    sure = rows[stop:]
    if len(sure):
        found += float(chance[sure] @ binomial(size - right, plan.p)[n - sure])
    return min(max(found / plan.mass, 0.0), 1.0)


def _contest(plan: _Plan, right: int, rows: IntArray, active: Sequence[_Active]) -> float:
    """P(n came up and the vote is right), summed over the rows j; ties shared."""
    # The most wrong answers that can have exactly j votes at once, which is the degree in y.
    able = np.zeros(len(rows), dtype=np.int64)
    for answer in active:
        able[answer.start : answer.stop] += answer.times
    points = np.minimum(able, (plan.n - rows) // rows) // 2 + 1
    chance = plan.votes(right).mass[rows]
    found, start = 0.0, 0
    while start < len(rows):
        each = int(points[start:].max()) * len(plan.frequencies)
        # Rows with fewer points join while the block is small: then a call costs more than the arithmetic.
        fewer = np.flatnonzero(points[start:] < points[start])
        alike = int(fewer[0]) if len(fewer) else len(rows) - start
        stop = start + min(max(alike, _SMALL // each), max(1, _BLOCK // each), len(rows) - start)
        weights = _rows(plan, right, rows[start:stop], active, start, int(points[start:stop].max()))
        found += float(chance[start:stop] @ weights)
        start = stop
    return found


def _rows(
    plan: _Plan, right: int, rows: IntArray, active: Sequence[_Active], offset: int, points: int
) -> FloatArray:
    """For each j: P(the others total n - j, none above j votes), a tie of t weighing 1 / (1 + t)."""
    nodes, weights = _legendre(points)
    here = [
        (answer, max(answer.start - offset, 0), min(answer.stop - offset, len(rows)))
        for answer in active
        if answer.stop > offset and answer.start < offset + len(rows)
    ]
    others = np.full(len(rows), plan.size - right)
    for answer, start, stop in here:
        others[start:stop] -= answer.votes * answer.times
    base = plan.plain_powers(others) * plan.powers(rows - plan.n) * plan.mirror
    product = np.repeat(base[None, :, :], points, axis=0)
    at_nodes = nodes[:, None, None].astype(np.complex128)
    for answer, start, stop in here:
        below, exactly = plan.factors(answer.votes, int(rows[start]), int(rows[stop - 1]))
        factor = at_nodes * exactly
        factor += below
        product[:, start:stop] *= factor if answer.times == 1 else _power(factor, answer.times)
    found: FloatArray = np.einsum("q,qjf->j", weights, product.real)
    return found


def _power(base: ComplexArray, exponent: int) -> ComplexArray:
    """Repeated squaring; numpy's complex power goes through logarithms, ten times slower and less exact."""
    result: ComplexArray | None = None
    while exponent:
        if exponent & 1:
            result = base if result is None else result * base
        base = base * base
        exponent >>= 1
    return np.ones_like(base) if result is None else result
