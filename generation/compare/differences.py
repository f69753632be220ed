"""The paired differences of a comparison, judged together, and what they answer in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from eval.significance import Difference, PerProblem, compare_paired, detectable_difference, holm, verdict
from generation.report_table import interval, points

if TYPE_CHECKING:
    from generation.compare.run import Cell

Kind = Literal["generators", "verifiers", "gains"]


@dataclass(frozen=True, slots=True)
class Named:
    """One paired difference.

    Attributes:
        kind: ``generators`` (one rule, two generators), ``verifiers`` (two verifiers on one pool), or
            ``gains`` (what a verifier adds to majority vote, for two generators).
        first: what it is the difference of: a generator, or a verifier.
        second: what is taken away.
        within: the rule, or the verifier's or generator's name, that both share.
        found: the difference.
        p_holm: corrected for all differences of the comparison.
        detectable: what would have been seen; None where nothing can be said of that.
        verdict: what the data support.
    """

    kind: Kind
    first: str
    second: str
    within: str
    found: Difference
    p_holm: float
    detectable: float | None
    verdict: str

    @property
    def what(self) -> str:
        """The difference in words."""
        if self.kind == "generators":
            return f"{self.first} minus {self.second}, {self.within}"
        if self.kind == "verifiers":
            return f"{self.first} minus {self.second}, on {self.within}"
        return f"gain of {self.within} over majority: {self.first} minus {self.second}"

    @property
    def shown(self) -> bool:
        """Whether the data show a difference at all."""
        return not self.verdict.startswith("no difference")

    def to_json(self) -> dict[str, Any]:
        """The difference as ``results.json`` has it."""
        who = {"kind": self.kind, "first": self.first, "second": self.second, "within": self.within}
        judged = {"p_holm": self.p_holm, "detectable": self.detectable, "verdict": self.verdict}
        return {"what": self.what, **who, **self.found.to_json(), **judged}


def differences_of(cells: Sequence[Cell], bootstrap: int, seed: int) -> list[Named]:
    """Every paired difference of a grid, judged together (Holm).

    Args:
        cells: generators with verifiers, on the same problems.
        bootstrap: resamples for the intervals.
        seed: of the resampled problems and the sign flips.

    Returns:
        Generator minus generator for majority vote and for each verifier's rule, verifier minus verifier on
        each pool, and the difference of the gains over majority.
    """
    asked = [*_generators(cells), *_verifiers(cells), *_gains(cells)]
    found = [compare_paired(mine, theirs, resamples=bootstrap, seed=seed) for *_, mine, theirs in asked]
    corrected = holm([each.p for each in found])
    named = []
    for (kind, first, second, within, *_), difference, p_holm in zip(asked, found, corrected, strict=True):
        detectable = detectable_difference(difference.of_problem, len(asked))
        said = verdict(difference, p_holm, detectable, second if kind != "gains" else f"for {second}")
        named.append(Named(kind, first, second, within, difference, p_holm, detectable, said))
    return named


def answer_of(cells: Sequence[Cell], differences: Sequence[Named]) -> str:
    """Does the first verifier help the weak generator more than the strong one? In one sentence.

    The weakest generator is the one with the lowest pass@1, the strongest the one with the highest.
    """
    verified = [cell for cell in cells if cell.report.headline in cell.report.rules]
    if not verified:
        return "no verifier was used; majority vote and pass@n are compared"
    name = verified[0].verifier
    mine = sorted(
        (cell for cell in verified if cell.verifier == name), key=lambda cell: cell.report.pass_at_1
    )
    if len(mine) < 2:
        return f"{name} scored the candidates of {mine[0].generator} alone; there is nothing to compare"
    weak, strong = mine[0], mine[-1]
    gains = [
        f"{points(cell.report.paired[cell.report.headline].value)} points "
        f"{interval(cell.report.paired[cell.report.headline].ci95, signed=True)} for {cell.generator}"
        for cell in (weak, strong)
    ]
    between = next(
        each
        for each in differences
        if each.kind == "gains"
        and each.within == name
        and {each.first, each.second} == {weak.generator, strong.generator}
    )
    sign = 1 if between.first == weak.generator else -1
    low, high = sorted(sign * bound for bound in between.found.ci95)
    apart = f"{points(sign * between.found.value)} points {interval((low, high), signed=True)}"
    if between.shown:
        more, less = (weak, strong) if sign * between.found.value > 0 else (strong, weak)
        said = f"it helps {more.generator} more than {less.generator}"
    else:
        said = f"whether it helps one more than the other is not shown ({between.verdict.partition('; ')[2]})"
    return (
        f"best of {weak.report.n} by {name} minus majority vote: {gains[0]}, {gains[1]}; "
        f"the gains differ by {apart}, p = {between.p_holm:.2g}: {said}"
    )


_Asked = tuple[Kind, str, str, str, PerProblem, PerProblem]


def _generators(cells: Sequence[Cell]) -> Iterator[_Asked]:
    """One rule, two generators; majority vote is the same for every verifier, so it is compared once."""
    for second, first in combinations(dict.fromkeys(cell.generator for cell in cells), 2):
        by_generator = [[cell for cell in cells if cell.generator == name] for name in (first, second)]
        yield (
            "generators",
            first,
            second,
            "majority",
            _rule(by_generator[0][0], "majority"),
            _rule(by_generator[1][0], "majority"),
        )
        for mine in by_generator[0]:
            for theirs in by_generator[1]:
                if mine.verifier == theirs.verifier and _has(mine) and _has(theirs):
                    yield "generators", first, second, mine.verifier, _headline(mine), _headline(theirs)


def _verifiers(cells: Sequence[Cell]) -> Iterator[_Asked]:
    for theirs, mine in combinations([cell for cell in cells if _has(cell)], 2):
        if mine.generator == theirs.generator:
            yield (
                "verifiers",
                mine.verifier,
                theirs.verifier,
                mine.generator,
                _headline(mine),
                _headline(theirs),
            )


def _gains(cells: Sequence[Cell]) -> Iterator[_Asked]:
    for theirs, mine in combinations([cell for cell in cells if _has(cell)], 2):
        if mine.verifier == theirs.verifier:
            yield "gains", mine.generator, theirs.generator, mine.verifier, _gain(mine), _gain(theirs)


def _has(cell: Cell) -> bool:
    return cell.report.headline in cell.report.rules


def _rule(cell: Cell, rule: str) -> PerProblem:
    return PerProblem(cell.report.ids, cell.report.per_problem[rule])


def _headline(cell: Cell) -> PerProblem:
    return _rule(cell, cell.report.headline)


def _gain(cell: Cell) -> PerProblem:
    added = cell.report.per_problem[cell.report.headline] - cell.report.per_problem["majority"]
    return PerProblem(cell.report.ids, added)
