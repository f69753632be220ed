"""The paired differences of a comparison, judged together, and what they answer in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from eval.figures import interval, points
from eval.significance import NONE_SHOWN, Judged, PerProblem, compare_paired, judge
from generation.report_table import p_equals

if TYPE_CHECKING:
    from generation.compare.cell import Cell

Kind = Literal["generators", "verifiers", "gains"]


class Asked(NamedTuple):
    """One paired difference that a comparison asks for.

    Attributes:
        kind: ``generators`` (one rule, two generators), ``verifiers`` (two verifiers on one pool), or
            ``gains`` (what a verifier adds to majority vote, for two generators).
        first: what it is the difference of: a generator, or a verifier.
        second: what is taken away.
        within: the rule, or the verifier's or generator's name, that both share.
        mine: the first's accuracy, or gain, on each problem.
        theirs: the second's.
    """

    kind: Kind
    first: str
    second: str
    within: str
    mine: PerProblem
    theirs: PerProblem

    @property
    def what(self) -> str:
        """The difference in words."""
        if self.kind == "generators":
            return f"{self.first} minus {self.second}, {self.within}"
        if self.kind == "verifiers":
            return f"{self.first} minus {self.second}, on {self.within}"
        return f"gain of {self.within} over majority: {self.first} minus {self.second}"


class Named(NamedTuple):
    """A difference that was asked for, and what it is judged to be."""

    asked: Asked
    judged: Judged

    @property
    def shown(self) -> bool:
        """Whether the data show a difference at all."""
        return not self.judged.verdict.startswith(NONE_SHOWN)

    def to_json(self) -> dict[str, Any]:
        """The difference as ``results.json`` has it."""
        who = {key: getattr(self.asked, key) for key in ("what", "kind", "first", "second", "within")}
        return {**who, **self.judged.to_json()}


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
    asked = {each.what: each for each in (*_generators(cells), *_verifiers(cells), *_gains(cells))}
    found = {
        what: compare_paired(each.mine, each.theirs, resamples=bootstrap, seed=seed)
        for what, each in asked.items()
    }
    against = {
        what: f"for {each.second}" if each.kind == "gains" else each.second for what, each in asked.items()
    }
    judged = judge(found, against)
    return [Named(each, judged[what]) for what, each in asked.items()]


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
        if each.asked.kind == "gains"
        and each.asked.within == name
        and {each.asked.first, each.asked.second} == {weak.generator, strong.generator}
    )
    sign = 1 if between.asked.first == weak.generator else -1
    low, high = sorted(sign * bound for bound in between.judged.found.ci95)
    apart = f"{points(sign * between.judged.found.value)} points {interval((low, high), signed=True)}"
    if between.shown:
        more, less = (weak, strong) if sign * between.judged.found.value > 0 else (strong, weak)
        said = f"it helps {more.generator} more than {less.generator}"
    else:
        why = between.judged.verdict.partition("; ")[2]
        said = f"whether it helps one more than the other is not shown ({why})"
    return (
        f"best of {weak.report.n} by {name} minus majority vote: {gains[0]}, {gains[1]}; "
        f"the gains differ by {apart}, p {p_equals(between.judged.p_holm)}: {said}"
    )


def _generators(cells: Sequence[Cell]) -> Iterator[Asked]:
    """One rule, two generators; majority vote is the same for every verifier, so it is compared once."""
    for second, first in combinations(dict.fromkeys(cell.generator for cell in cells), 2):
        mine, theirs = ([cell for cell in cells if cell.generator == name] for name in (first, second))
        votes = [each[0].report.of_problem("majority") for each in (mine, theirs)]
        yield Asked("generators", first, second, "majority vote", *votes)
        for one, other in product(mine, theirs):
            if one.verifier == other.verifier and _has(one) and _has(other):
                yield Asked("generators", first, second, one.verifier, _headline(one), _headline(other))


def _verifiers(cells: Sequence[Cell]) -> Iterator[Asked]:
    for theirs, mine in combinations([cell for cell in cells if _has(cell)], 2):
        if mine.generator == theirs.generator:
            names = (mine.verifier, theirs.verifier, mine.generator)
            yield Asked("verifiers", *names, _headline(mine), _headline(theirs))


def _gains(cells: Sequence[Cell]) -> Iterator[Asked]:
    for theirs, mine in combinations([cell for cell in cells if _has(cell)], 2):
        if mine.verifier == theirs.verifier:
            names = (mine.generator, theirs.generator, mine.verifier)
            yield Asked("gains", *names, _gain(mine), _gain(theirs))


def _has(cell: Cell) -> bool:
    return cell.report.headline in cell.report.rules


def _headline(cell: Cell) -> PerProblem:
    return cell.report.of_problem(cell.report.headline)


def _gain(cell: Cell) -> PerProblem:
    return cell.report.gain_of_problem(cell.report.headline)
