"""Is one rule better than another? Paired tests on the same problems, and the sentence that they support.

The unit is the problem: of each, the difference of two expected accuracies. `Difference` is what is known of
one comparison: its mean, the paired interval, the sign-flip p-value, the number of problems that differ.
`judge` looks at several together: Holm's correction, the difference that could have been seen, the verdict.

Two accuracies of a problem *differ* where they are apart by more than rounding. Where one is the mean over
drawn subsets (a weighted vote below the pool's size) they are apart on nearly every problem by the drawing
alone, so there they must be further apart than it explains: three standard errors of a mean of so many
subsets, were the two alike, and one subset more. That is a count for the reader; intervals and p-values use
every difference as it is, the drawing's spread included.

Left out on purpose: power at the observed gap, which says nothing that the p-value does not (Hoenig and
Heisey, "The abuse of power", 2001).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.curves import BoolArray, IntArray
from eval.intervals import LEVEL, bootstrap_intervals
from eval.scores import FloatArray
from eval.sign_flips import ROUNDING, sign_flip_p
from shepherd.errors import ShepherdError

__all__ = [
    "NONE_SHOWN",
    "Difference",
    "Judged",
    "PerProblem",
    "compare_paired",
    "detectable_difference",
    "differing",
    "holm",
    "judge",
    "paired_bootstrap",
    "paired_difference",
    "rounded_up",
    "sign_flip_p",
    "verdict",
]

ALPHA = 1 - LEVEL
POWER = 0.8
NONE_SHOWN = "no difference shown"


@dataclass(frozen=True, slots=True)
class PerProblem:
    """One rule's accuracy on each problem, or what it adds to another's.

    Attributes:
        ids: one name a problem, each once.
        accuracy: expected accuracy, in [0, 1], or a difference of two; shape ``(problems,)``.
        subsets: how many drawn subsets each accuracy is the mean of, 0 where it is exact; None if all are.
    """

    ids: Sequence[str]
    accuracy: FloatArray
    subsets: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of two accuracies on the same problems.

    Attributes:
        value: mean difference, in [-1, 1].
        ci95: its 95% paired bootstrap interval.
        p: two-sided sign-flip p-value of no difference.
        problems_differing: problems on which the two differ.
        of_problem: the difference on each problem; shape ``(problems,)``; not in the JSON.
    """

    value: float
    ci95: tuple[float, float]
    p: float
    problems_differing: int
    of_problem: FloatArray = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The difference as ``results.json`` has it."""
        return {
            "difference": self.value,
            "ci95": list(self.ci95),
            "p": self.p,
            "problems_differing": self.problems_differing,
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """A difference as one of several that are looked at together.

    Attributes:
        found: the difference.
        p_holm: its p-value, corrected for the comparisons beside it.
        detectable: the difference that would have been seen; None where nothing can be said of that.
        verdict: what the data support.
    """

    found: Difference
    p_holm: float
    detectable: float | None
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """The difference and what it is judged to be, as ``results.json`` has it."""
        judged = {"p_holm": self.p_holm, "detectable": self.detectable, "verdict": self.verdict}
        return {**self.found.to_json(), **judged}


def compare_paired(
    mine: PerProblem, theirs: PerProblem, *, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Compare two rules, verifiers or generators on the same problems, matched by id.

    Args:
        mine: what the difference is of.
        theirs: what is taken away from it.
        resamples: for the interval.
        seed: of the resampled problems and of the drawn sign flips.

    Returns:
        The difference; `judge` says what it shows.

    Raises:
        ShepherdError: if the problems are not the same.

    Example:
        >>> ids = [f"p{index}" for index in range(12)]
        >>> found = compare_paired(PerProblem(ids, np.ones(12)), PerProblem(ids[::-1], np.zeros(12)))
        >>> found.value, found.ci95, found.problems_differing, round(found.p, 5)
        (1.0, (1.0, 1.0), 12, 0.00049)
        >>> judge({"mine": found}, "theirs")["mine"].verdict
        'better than theirs'
    """
    place = _matched(mine.ids, theirs.ids)
    subsets = mine.subsets, None if theirs.subsets is None else theirs.subsets[place]
    return paired_difference(mine.accuracy, theirs.accuracy[place], *subsets, resamples=resamples, seed=seed)


def paired_difference(
    mine: FloatArray,
    theirs: FloatArray,
    mine_subsets: IntArray | None = None,
    theirs_subsets: IntArray | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """As `compare_paired`, of accuracies in the same order of problems; arguments as in `differing`."""
    values = mine - theirs
    return Difference(
        float(values.mean()),
        paired_bootstrap(mine, theirs, resamples, seed),
        float(sign_flip_p(values[:, None], seed=seed)[0]),
        int(differing(mine, theirs, mine_subsets, theirs_subsets).sum()),
        values,
    )


def paired_bootstrap(
    mine: FloatArray, theirs: FloatArray, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """95% interval of the mean difference, resampling problems; both of shape ``(problems,)``.

    Example:
        >>> paired_bootstrap(np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.5, 0.75]))
        (0.25, 0.25)
    """
    low, high = bootstrap_intervals((mine - theirs)[:, None], resamples, seed)[0]
    return float(low), float(high)


def differing(
    mine: FloatArray, theirs: FloatArray, mine_subsets: IntArray | None, theirs_subsets: IntArray | None
) -> BoolArray:
    """Mark the problems on which two accuracies differ by more than rounding and drawn subsets explain.

    Args:
        mine: shape ``(problems,)``.
        theirs: shape ``(problems,)``.
        mine_subsets: subsets that each of mine is the mean of, 0 where it is exact; None if all are.
        theirs_subsets: the same of theirs.

    Example:
        >>> exact = np.array([0.5, 0.5, 0.0])
        >>> differing(np.array([0.52, 0.9, 0.1]), exact, np.array([200, 200, 0]), None).tolist()
        [False, True, True]
    """
    exact = np.zeros(len(mine), dtype=np.int64)
    first, second = (exact if each is None else each for each in (mine_subsets, theirs_subsets))
    # Were the two alike: at the exact one's accuracy, or in the middle of two that are drawn.
    alike = np.where(first == 0, mine, np.where(second == 0, theirs, (mine + theirs) / 2)).clip(0, 1)
    share = 1 / np.where(first == 0, np.inf, first), 1 / np.where(second == 0, np.inf, second)
    # An accuracy of a subset is in [0, 1], so its variance is at most this (Bhatia and Davis, 2000).
    error = np.sqrt(alike * (1 - alike) * (share[0] + share[1]))
    apart: BoolArray = np.abs(mine - theirs) > ROUNDING + 3 * error + np.maximum(*share)
    return apart


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for being looked at together (Holm, 1979): step down, each times those not yet passed.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p), 0.0
    for passed, index in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        highest = max(highest, min(1.0, (len(p) - passed) * p[index]))
        corrected[index] = highest
    return corrected


def detectable_difference(differences: FloatArray, compared: int = 1) -> float | None:
    """The difference that would have been seen with a power of 80%, were the spread as it is here.

    By the standard error of the paired differences, never by the gap that was found: (t(1 - a/2) + t(0.8)) SE
    (Cohen, "Statistical power analysis", 1988). The level a is 5% over the number of comparisons, the hardest
    that Holm asks of any of them. No fewer problems can show a difference than the sign-flip test needs where
    all of them differ the same way, 2^(1 - k) <= a, so it is at least k problems' worth.

    Args:
        differences: shape ``(problems,)``.
        compared: comparisons that are looked at together.

    Returns:
        A difference of accuracies, above 0; None where the differences have no spread (the two agree on every
        problem), or the problems are too few for any difference to be seen.

    Example:
        >>> one_of_ten = np.repeat([1.0, -1.0, 0.0], [50, 50, 900])
        >>> round(detectable_difference(one_of_ten), 4), round(detectable_difference(one_of_ten, 10), 4)
        (0.0281, 0.0366)
        >>> detectable_difference(np.zeros(500)), detectable_difference(np.array([1.0, 0.0]))
        (None, None)
    """
    from scipy.special import stdtrit  # a tenth of a second, which `import eval` must not take

    problems, alpha = len(differences), ALPHA / compared
    sizes = np.abs(differences)
    needed = math.ceil(1 - math.log2(alpha) - ROUNDING)
    if problems < needed or float(np.ptp(differences)) <= ROUNDING:
        return None
    error = float(differences.std(ddof=1)) / math.sqrt(problems)
    seen = error * float(stdtrit(problems - 1, 1 - alpha / 2) + stdtrit(problems - 1, POWER))
    return max(seen, needed / problems * float(sizes[sizes > ROUNDING].mean()))


def verdict(found: Difference, p_holm: float, detectable: float | None, other: str = "majority") -> str:
    """The sentence that a difference supports; better or worse only where interval and corrected p agree.

    Args:
        found: the difference.
        p_holm: its corrected p-value.
        detectable: as `detectable_difference` gives it.
        other: what it is compared with.

    Example:
        >>> level = Difference(0.002, (-0.01, 0.014), 0.8, 9, np.array([]))
        >>> verdict(level, 0.8, 0.0213)
        'no difference shown; a difference of 2.2 points or more would have been seen at this size'
    """
    low, high = found.ci95
    if p_holm <= ALPHA and low > 0:
        return f"better than {other}"
    if p_holm <= ALPHA and high < 0:
        return f"worse than {other}"
    if detectable is not None:
        least = rounded_up(detectable)
        return f"{NONE_SHOWN}; a difference of {least} points or more would have been seen at this size"
    if found.problems_differing == 0:
        return (
            f"{NONE_SHOWN}; the two agree on every problem, so the size that would have been seen is unknown"
        )
    return f"{NONE_SHOWN}; {len(found.of_problem):,} problems are too few to show any"


def rounded_up(detectable: float) -> str:
    """A detectable difference in points: rounded up, as less might not have been seen.

    Example:
        >>> rounded_up(0.0213), rounded_up(0.02)
        ('2.2', '2.0')
    """
    return f"{math.ceil(1000 * detectable - ROUNDING) / 10:.1f}"


def judge(family: Mapping[str, Difference], other: str | Mapping[str, str] = "majority") -> dict[str, Judged]:
    """Judge comparisons that are looked at together: corrected p, detectable difference, verdict.

    Args:
        family: the differences by name; all of them count for Holm's correction.
        other: what they are compared with, as the sentence names it, or that of each by its name.
    """
    corrected = holm([each.p for each in family.values()])
    judged = {}
    for (name, found), p_holm in zip(family.items(), corrected, strict=True):
        detectable = detectable_difference(found.of_problem, len(family))
        against = other if isinstance(other, str) else other[name]
        judged[name] = Judged(found, p_holm, detectable, verdict(found, p_holm, detectable, against))
    return judged


def _matched(mine: Sequence[str], theirs: Sequence[str]) -> IntArray:
    """Where each of my problems stands among theirs."""
    place = {name: index for index, name in enumerate(theirs)}
    for names in (mine, theirs):
        if len(set(names)) < len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise ShepherdError(f'problem "{twice}" stands twice; a paired comparison needs each id once')
    alone, others = [name for name in mine if name not in place], set(theirs) - set(mine)
    if alone or others:
        example = (alone or sorted(others))[0]
        raise ShepherdError(
            f"not the same problems: {len(alone)} only in the first, {len(others)} only in the second "
            f'(one is "{example}"); a paired comparison needs the same ids in both'
        )
    return np.array([place[name] for name in mine], dtype=np.int64)
