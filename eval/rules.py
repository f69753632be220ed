"""Selection rules: which candidate of a pool is taken, and how often that is right at every n.

The rules of a pool:

- ``majority``: the answer with the most candidates.
- ``min``, ``softmin``, ``prod``, ``last``, ``mean``: best-of-n, the candidate of the highest solution score.
- ``weighted_min``, …: the answer with the largest sum of solution scores.
- ``calibrated_prod``, ``weighted_calibrated_min``, …: the same with calibrated step scores, where there is a
  calibration and it can matter: in every vote, and in best-of-n by no single step's score (`REORDERED`).
- ``loglik``: the candidate with the highest mean log-likelihood a token under its own generator.
- ``shortest``: the candidate with the fewest characters.
- ``random``: any candidate that has an answer; what a rule that knows nothing gets.

Policies, the same in every rule: a candidate without an answer ranks below all that have one; where nobody
answers the problem is wrong; ties are shared, in expectation, never drawn.

`best_weights` and `vote_weights` say which candidates a rule takes from the whole pool; `curves_of` gives
every rule at every n in closed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.curves import BoolArray, IntArray, best_of, pass_at, random_pick
from eval.majority import majority_accuracies
from eval.scores import AGGREGATIONS, Aggregation, FloatArray
from eval.weighted import weighted_votes, winners

REORDERED: tuple[Aggregation, ...] = ("softmin", "prod", "mean")
"""Solution scores whose order a calibration can change: min and last are one step's, and keep theirs."""

RULES = (
    "majority",
    *AGGREGATIONS,
    *(f"weighted_{how}" for how in AGGREGATIONS),
    *(f"weighted_calibrated_{how}" for how in AGGREGATIONS),
    *(f"calibrated_{how}" for how in REORDERED),
    "loglik",
    "shortest",
    "random",
)
"""Names of all rules, in the order of a report; which of them a pool has depends on what is known of it."""


@dataclass(frozen=True, slots=True)
class Ballots:
    """What the rules need to know of problems with pools of one size, as arrays of shape ``(problems, N)``.

    Attributes:
        ids: one name a problem.
        codes: one integer an answer, equal answers equal, -1 for none.
        right: whether the answer is the gold answer.
        characters: length of each text.
        logprobs: mean log-likelihood a token (nats), where every candidate has one.
        scores: solution scores by name (``min``, …), each candidate a number; empty without a verifier.
        calibrated: the same of calibrated step scores, by the same names; empty without a calibration.
        extra: more solution scores, ranked by best-of-n alone (a control verifier).
    """

    ids: Sequence[str]
    codes: IntArray
    right: BoolArray
    characters: IntArray
    logprobs: FloatArray | None = None
    scores: Mapping[str, FloatArray] = field(default_factory=dict)
    calibrated: Mapping[str, FloatArray] = field(default_factory=dict)
    extra: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """N, candidates a problem."""
        return int(self.codes.shape[1])

    def rankings(self) -> dict[str, FloatArray]:
        """The best-of-n rules and what they rank by, higher first."""
        calibrated = {
            f"calibrated_{how}": self.calibrated[how] for how in REORDERED if how in self.calibrated
        }
        ranked: dict[str, FloatArray] = {**self.scores, **calibrated, **self.extra}
        if self.logprobs is not None:
            ranked["loglik"] = self.logprobs
        ranked["shortest"] = -self.characters.astype(np.float64)
        return ranked

    def weights(self) -> dict[str, FloatArray]:
        """The weighted votes and what each candidate's vote counts in them."""
        calibrated = {f"weighted_calibrated_{how}": each for how, each in self.calibrated.items()}
        return {**{f"weighted_{how}": each for how, each in self.scores.items()}, **calibrated}


@dataclass(frozen=True, slots=True)
class Curve:
    """One rule's accuracy for each problem and n.

    Attributes:
        accuracy: shape ``(problems, len(ns))``.
        variance: of each accuracy, where some were estimated from drawn subsets.
        subsets: how many each is the mean of, 0 where it is exact.
    """

    accuracy: FloatArray
    variance: FloatArray | None = None
    subsets: IntArray | None = None


def curves_of(ballots: Ballots, ns: Sequence[int], *, subsets: int = 200, seed: int = 0) -> dict[str, Curve]:
    """Every rule, and pass@n as ``pass_at_n``, at every n.

    Args:
        ballots: problems with pools of one size N.
        ns: sizes of subset, each in [1, N].
        subsets: subsets drawn for a weighted vote below N; everything else is exact.
        seed: of those subsets.

    Returns:
        Curves of shape ``(problems, len(ns))`` by name, in the order of the report.
    """
    answered = ballots.codes >= 0
    count = ballots.right.sum(axis=1)
    found = {
        "pass_at_n": Curve(pass_at(count, ballots.size, ns)),
        "majority": Curve(majority_accuracies(ballots.codes, ballots.right, ns)),
    }
    ranked = {
        name: Curve(best_of(by, answered, ballots.right, ns)) for name, by in ballots.rankings().items()
    }
    found |= {name: ranked.pop(name) for name in ballots.scores}
    votes = weighted_votes(
        ballots.codes, ballots.right, ballots.weights(), ns, ids=ballots.ids, subsets=subsets, seed=seed
    )
    found |= {name: Curve(each.accuracy, each.variance, each.subsets) for name, each in votes.items()}
    found |= ranked
    found["random"] = Curve(random_pick(count, answered.sum(axis=1), ballots.size, ns))
    return found


def best_weights(scores: FloatArray, answered: BoolArray) -> FloatArray:
    """The chance of each candidate of one pool to be taken as the best; ties share.

    Args:
        scores: higher is better; shape ``(N,)``.
        answered: shape ``(N,)``.

    Returns:
        Shape ``(N,)``, summing to 1, or all 0 where nobody answers.

    Example:
        >>> best_weights(np.array([0.5, 0.9, 0.9]), np.array([True, True, False])).tolist()
        [0.0, 1.0, 0.0]
    """
    if not answered.any():
        return np.zeros(len(scores))
    top = answered & (scores == scores[answered].max())
    return np.asarray(top / top.sum(), dtype=np.float64)


def vote_weights(codes: IntArray, weights: FloatArray | None = None) -> FloatArray:
    """The chance of each candidate of one pool to be taken by a vote: level answers share, and so do theirs.

    Args:
        codes: one integer an answer, -1 for none; shape ``(N,)``.
        weights: what each vote counts, not negative; 1 each (majority) if None.

    Returns:
        Shape ``(N,)``, summing to 1, or all 0 where nobody answers.

    Example:
        >>> vote_weights(np.array([7, 3, 3, -1])).tolist()
        [0.0, 0.5, 0.5, 0.0]
        >>> vote_weights(np.array([7, 3, 3, -1]), np.array([0.9, 0.2, 0.3, 1.0])).tolist()
        [1.0, 0.0, 0.0, 0.0]
    """
    answered = codes >= 0
    if not answered.any():
        return np.zeros(len(codes))
    values, where, votes = np.unique(codes[answered], return_inverse=True, return_counts=True)
    sums = votes.astype(np.float64)
    if weights is not None:
        sums = np.bincount(where, weights=weights[answered], minlength=len(values)).astype(np.float64)
    best = winners(sums, np.ones(len(values), dtype=bool))
    out = np.zeros(len(codes))
    out[answered] = (best / votes)[where] / best.sum()
    return out


def taken(ballots: Ballots) -> dict[str, FloatArray]:
    """The chance of each candidate to be taken from the whole pool, by rule; ``random`` is left out.

    Returns:
        Shape ``(problems, N)`` each; a row sums to 1, or is all 0 where nobody answers.
    """
    answered = ballots.codes >= 0
    found = {"majority": np.stack([vote_weights(codes) for codes in ballots.codes])}
    for name, by in ballots.rankings().items():
        found[name] = np.stack(
            [best_weights(mine, voting) for mine, voting in zip(by, answered, strict=True)]
        )
    for name, by in ballots.weights().items():
        votes = (vote_weights(codes, mine) for codes, mine in zip(ballots.codes, by, strict=True))
        found[name] = np.stack(list(votes))
    return found


def shared_first_places(ballots: Ballots) -> dict[str, int]:
    """For each rule, the problems in which different answers of the whole pool share the first place."""
    return {name: _problems_with_several(ballots.codes, chances) for name, chances in taken(ballots).items()}


def _problems_with_several(codes: IntArray, taken: Iterable[FloatArray]) -> int:
    return sum(len(np.unique(row[chance > 0])) > 1 for row, chance in zip(codes, taken, strict=True))
