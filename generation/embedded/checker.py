"""The exact step checker: is what a step states true of this problem's quantities?

A step is judged by its meaning, never by its words:

- **Equations.** Every equation must be right in exact arithmetic, and both sides must mean a quantity of
  the problem: something the right solution computes, or a partial sum or product on the way to it, in any
  order and grouping. A number stands for every quantity of the problem that has its value; for a partial
  one only once a step has stated it. A calculation must give something new: ``12 * 1``, ``12 + 0`` or a
  given that the problem does not compute is no step.
- **Names and nouns carry no weight.** "Ben has 3 * 4 = 12 clips" is right where Mia has them: a miscopied
  name does not change the calculation, and a verifier taught otherwise learns names and not arithmetic.
- **A step without an equation** is right if every number in it is the value of a quantity of the problem,
  and wrong if one is not, or if there is none. What cannot be parsed (``3 + = 5``) cannot be shown right,
  so it is wrong.
- **The answer** ("The answer is: 12") must equal the problem's answer.
- **After a first error** the rule is by value: a step is right if what it states is still true of the
  problem, so that the answer can still be reached from it; a step that uses a wrong result is wrong, since
  that number is no quantity of the problem. A verdict thus depends on the step and the problem alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from generation.embedded.arithmetic import Chain, MalformedStepError, Node, read_step
from generation.embedded.graph import (
    Meanings,
    combine,
    constant_fingerprint,
    partial_meanings,
    stated_meanings,
)

if TYPE_CHECKING:
    from generation.embedded.graph import Quantity
    from generation.embedded.world import EmbeddedProblem

MAX_READINGS = 4096


@dataclass(frozen=True)
class StepVerdict:
    """Whether a step is right, and why not.

    ``reason`` is one of ``right``, ``malformed``, ``arithmetic``, ``use`` (the calculation is no quantity
    of the problem), ``number`` (a number that is no quantity), ``empty`` (states nothing) and ``answer``.
    """

    right: bool
    reason: str


class Checker:
    """Judges steps against one problem's quantities."""

    def __init__(self, quantities: Sequence[Quantity], answer: Quantity) -> None:
        self._quantities = tuple(quantities)
        self._answer = answer.value

    @classmethod
    def of(cls, problem: EmbeddedProblem) -> Checker:
        """The checker of a generated problem."""
        return cls(problem.quantities, problem.answer)

    @cached_property
    def _known(self) -> Meanings:
        return stated_meanings(self._quantities)

    @cached_property
    def _partial(self) -> Meanings:
        return partial_meanings(self._quantities)

    @cached_property
    def _givens(self) -> frozenset[int]:
        computed = {q.fingerprint for q in self._quantities if q.operation != "given"}
        return frozenset(q.fingerprint for q in self._quantities) - computed

    def check(self, steps: Sequence[str]) -> list[StepVerdict]:
        """Judge each step of a solution by the rules above; the tag is not part of a step. Never raises."""
        stated: set[int] = set()
        return [self._check_step(step, stated) for step in steps]

    def _check_step(self, step: str, stated: set[int]) -> StepVerdict:
        """Judge one step; adds what it rightly states to ``stated``."""
        try:
            claims = read_step(step)
        except MalformedStepError:
            return StepVerdict(False, "malformed")
        for chain in claims.chains:
            reason = self._judge(chain, stated)
            if reason:
                return StepVerdict(False, reason)
        if claims.answer is not None and claims.answer != self._answer:
            return StepVerdict(False, "answer")
        if not claims.chains:
            if any(not self._meanings(number, stated) for number in claims.numbers):
                return StepVerdict(False, "number")
            if not claims.numbers and claims.answer is None:
                return StepVerdict(False, "empty")
        return StepVerdict(True, "right")

    def _judge(self, chain: Chain, stated: set[int]) -> str:
        """Why the chain is wrong, or "" and its meaning added to ``stated``."""
        value = chain[0].value
        if value is None or any(side.value != value for side in chain):
            return "arithmetic"
        accepted = (
            self._known.get(value, frozenset()) | self._partial.get(value, frozenset())
        ) - self._givens
        for side in chain:
            if side.operation is not None:
                accepted &= frozenset() if _changes_nothing(side) else self._readings(side, stated)
        if not accepted:
            return "use"
        stated |= accepted
        return ""

    def _meanings(self, number: Fraction, stated: set[int]) -> frozenset[int]:
        """What a number may stand for here."""
        return self._known.get(number, frozenset()) | (self._partial.get(number, frozenset()) & stated)

    def _readings(self, node: Node, stated: set[int]) -> set[int]:
        """Fingerprints of all an expression can mean, each number read as every quantity of its value."""
        if node.operation is None:
            assert node.value is not None
            return {constant_fingerprint(node.value), *self._meanings(node.value, stated)}
        left, right = (self._readings(arg, stated) for arg in node.args)
        if len(left) * len(right) > MAX_READINGS:
            return set()
        return {combine(node.operation, a, b) for a in left for b in right}


def _changes_nothing(node: Node) -> bool:
    """Whether the expression multiplies or divides by one, or adds or takes away nothing, anywhere."""
    if node.operation is None:
        return False
    idle = 1 if node.operation in "*/" else 0
    operands = node.args if node.operation in "+*" else node.args[1:]
    return any(arg.value == idle for arg in operands) or any(_changes_nothing(arg) for arg in node.args)
