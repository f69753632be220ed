"""Quantities of a problem as expressions over its given numbers, compared by meaning and not by text.

A quantity is a given number, a constant that the wording implies (2 for "twice", 7 for a week), or an
operation on quantities. Two expressions mean the same if they are the same rational function of the givens.
That is decided by evaluating both at one fixed random point modulo the prime 2**61 - 1 (Schwartz 1980): equal
functions always agree there, and different ones agree with a chance of about 1e-17.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

PRIME = 2**61 - 1
MAX_GIVENS = 64
_POINT = tuple(random.Random(2312_08935).choices(range(2, PRIME), k=MAX_GIVENS))

Operation = Literal["given", "constant", "+", "-", "*", "/"]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One quantity: ``value`` is exact, ``args`` are its operands.

    ``index`` numbers a given within its problem.
    """

    operation: Operation
    value: Fraction
    args: tuple[Quantity, ...] = ()
    index: int = -1

    @cached_property
    def fingerprint(self) -> int:
        """The expression at the fixed random point, in ``[0, PRIME)``; equal for equal meaning."""
        if self.operation == "given":
            return _POINT[self.index]
        if self.operation == "constant":
            return constant_fingerprint(self.value)
        return combine(self.operation, self.args[0].fingerprint, self.args[1].fingerprint)

    @cached_property
    def canonical(self) -> str:
        """The expression with names and wording gone and the operands of + and * sorted."""
        if self.operation == "given":
            return f"g{self.value}"
        if self.operation == "constant":
            return f"c{self.value}"
        parts = [arg.canonical for arg in self.args]
        if self.operation in "+*":
            parts.sort()
        return "(" + self.operation.join(parts) + ")"

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity("+", self.value + other.value, (self, other))

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity("-", self.value - other.value, (self, other))

    def __mul__(self, other: Quantity) -> Quantity:
        return Quantity("*", self.value * other.value, (self, other))

    def __truediv__(self, other: Quantity) -> Quantity:
        return Quantity("/", self.value / other.value, (self, other))


def given(index: int, value: int | Fraction) -> Quantity:
    """The ``index``-th number that the question states."""
    return Quantity("given", Fraction(value), (), index)


def constant(value: int | Fraction) -> Quantity:
    """A number that the wording implies; it means its value, wherever it comes from."""
    return Quantity("constant", Fraction(value))


def constant_fingerprint(value: Fraction) -> int:
    """Fingerprint of a plain number."""
    return value.numerator % PRIME * pow(value.denominator, -1, PRIME) % PRIME


def combine(operation: str, left: int, right: int) -> int:
    """Apply ``+ - * /`` to two fingerprints; a division by zero yields 0, which no quantity has."""
    if operation == "+":
        return (left + right) % PRIME
    if operation == "-":
        return (left - right) % PRIME
    if operation == "*":
        return left * right % PRIME
    return left * pow(right, -1, PRIME) % PRIME if right else 0


Meanings = dict[Fraction, frozenset[int]]
"""Fingerprints by value."""


def stated_meanings(quantities: Iterable[Quantity]) -> Meanings:
    """The quantities themselves, by value."""
    return _by_value((quantity.value, quantity.fingerprint) for quantity in quantities)


def partial_meanings(quantities: Iterable[Quantity]) -> Meanings:
    """What lies on the way to the quantities in any order and grouping, by value.

    Partial sums, partial products and the parts of a product with a sum, so that ``a + b - c`` may be
    worked as ``b - c`` first and ``3 * (a + b)`` as ``3 * a`` and ``3 * b``.
    """
    return _by_value(
        term
        for quantity in quantities
        for term in itertools.chain(
            _partial_sums(quantity), _distributed(quantity), _partial_products(quantity)
        )
    )


def _by_value(terms: Iterable[_Term]) -> Meanings:
    found: dict[Fraction, set[int]] = {}
    for value, mark in terms:
        found.setdefault(value, set()).add(mark)
    return {value: frozenset(marks) for value, marks in found.items()}


_Term = tuple[Fraction, int]
_MAX_TERMS = 7


def _terms(quantity: Quantity, sign: int = 1) -> list[tuple[Fraction, int, Quantity]]:
    """The quantity as a sum of signed terms (value, fingerprint, term); products stay whole."""
    if quantity.operation in ("+", "-"):
        right_sign = sign if quantity.operation == "+" else -sign
        return _terms(quantity.args[0], sign) + _terms(quantity.args[1], right_sign)
    return [(sign * quantity.value, sign * quantity.fingerprint % PRIME, quantity)]


def _partial_sums(quantity: Quantity) -> Iterator[_Term]:
    """Sums of two or more of the terms; what is only taken away may also be added up first."""
    terms = _terms(quantity)
    if not 2 < len(terms) <= _MAX_TERMS:
        return
    for size in range(2, len(terms)):
        for chosen in itertools.combinations(terms, size):
            value = sum((term[0] for term in chosen), Fraction(0))
            mark = sum(term[1] for term in chosen) % PRIME
            yield value, mark
            if all(term[0] < 0 for term in chosen):
                yield -value, -mark % PRIME


def _distributed(quantity: Quantity) -> Iterator[_Term]:
    """For ``k * (a + b)``: the parts ``k * a`` and ``k * b`` of working it term by term."""
    if quantity.operation != "*":
        return
    for whole, other in (quantity.args, quantity.args[::-1]):
        if whole.operation in ("+", "-"):
            for arg in whole.args:
                yield arg.value * other.value, arg.fingerprint * other.fingerprint % PRIME


def _factors(quantity: Quantity) -> list[_Term]:
    """The quantity as a product of (value, fingerprint) factors; a constant fraction is two of them."""
    if quantity.operation == "*":
        return _factors(quantity.args[0]) + _factors(quantity.args[1])
    if quantity.operation == "/":
        inverted = [(1 / value, pow(mark, -1, PRIME)) for value, mark in _factors(quantity.args[1])]
        return _factors(quantity.args[0]) + inverted
    if quantity.operation == "constant" and quantity.value.denominator > 1:
        parts = (Fraction(quantity.value.numerator), Fraction(1, quantity.value.denominator))
        return [(part, constant_fingerprint(part)) for part in parts]
    return [(quantity.value, quantity.fingerprint)]


def _partial_products(quantity: Quantity) -> Iterator[_Term]:
    """Products of two or more factors and their inverses, so that two divisors may be multiplied first."""
    factors = _factors(quantity)
    if not 1 < len(factors) <= _MAX_TERMS or any(value == 0 for value, _ in factors):
        return
    for size in range(2, len(factors) + 1):
        for chosen in itertools.combinations(factors, size):
            value, mark = Fraction(1), 1
            for factor_value, factor_mark in chosen:
                value *= factor_value
                mark = mark * factor_mark % PRIME
            yield value, mark
            yield 1 / value, pow(mark, -1, PRIME)
