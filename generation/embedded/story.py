"""The story so far: people and their amounts, the sentences told, the steps of the solution, the givens."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fractions import Fraction

from generation.embedded.graph import Quantity, constant, given

NAMES = {
    "she": ("Mia", "Ana", "Lucy", "Nora", "Ruth", "Emma", "Jane", "Rosa"),
    "he": ("Tom", "Ben", "Max", "Paul", "Leo", "Sam", "Jack", "Omar"),
}
POSSESSIVE = {"she": "her", "he": "his"}
OBJECTS = (
    "clips", "books", "cards", "apples", "coins", "stamps", "shells", "pens",
    "marbles", "beads", "cakes", "plums", "stickers", "buttons", "nuts", "toys",
)  # fmt: skip
CONTAINERS = ("boxes", "bags", "jars", "packs", "baskets", "trays")


class Unsuitable(Exception):  # noqa: N818 - control flow of the generator, not an error a user sees
    """The drawn event does not fit the amounts at hand (not divisible, out of range); draw another story."""


@dataclass
class Person:
    """A person of the story and what they hold now (None until the story says so)."""

    name: str
    pronoun: str
    amount: Quantity | None = None

    @property
    def possessive(self) -> str:
        """The word before what they own: "her" or "his"."""
        return POSSESSIVE[self.pronoun]


@dataclass
class Story:
    """A problem in the making. Events append to it; ``world`` turns it into a problem."""

    rng: random.Random
    people: list[Person]
    things: str
    sentences: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    givens: list[Quantity] = field(default_factory=list)
    quantities: list[Quantity] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    container: str = "boxes"
    scale: int = 1

    @property
    def hero(self) -> Person:
        """The first person, whose amount the events change."""
        return self.people[0]

    @property
    def amount(self) -> Quantity:
        """What the hero holds now."""
        assert self.hero.amount is not None
        return self.hero.amount

    def number(self, low: int, high: int) -> Quantity:
        """Draw a number that the question will state."""
        if high < low:
            raise Unsuitable
        return self.state(self.rng.randint(low, high))

    def count(self, low: int, high: int) -> Quantity:
        """Draw a number of things that the question will state, in the story's scale."""
        if high // self.scale < low:
            raise Unsuitable
        return self.state(self.scale * self.rng.randint(low, high // self.scale))

    def state(self, value: int) -> Quantity:
        """A number that the question will state, chosen by the caller."""
        quantity = given(len(self.givens), value)
        self.givens.append(quantity)
        return quantity

    def tell(self, *wordings: str) -> None:
        """Add one of several wordings of a sentence."""
        self.sentences.append(self.rng.choice(wordings))

    def work(self, quantity: Quantity, *wordings: str) -> Quantity:
        """Add a step that computes ``quantity``; ``{}`` in the wording stands for the equation."""
        if quantity.value.denominator != 1 or not 1 < quantity.value <= LARGEST * self.scale:
            raise Unsuitable
        left, right = quantity.args
        equation = f"{left.value} {quantity.operation} {right.value} = {quantity.value}"
        self.quantities.append(quantity)
        self.steps.append(self.rng.choice(wordings).format(equation))
        return quantity


LARGEST = 100
"""Of a story told in ones; told in tens, its amounts go to the hundreds."""


def divisors(value: Fraction, low: int, high: int) -> list[int]:
    """Whole divisors of ``value`` from ``low`` to ``high`` that leave more than one."""
    return [k for k in range(low, high + 1) if value % k == 0 and value // k > 1]


def percent(share: int) -> Quantity:
    """``share`` percent as a constant."""
    return constant(Fraction(share, 100))
