"""The ways a story ends: what is asked, and the steps that answer it.

In the docstrings v is what the hero has, w what another person has, and a and b are numbers that the
question states.
"""

from __future__ import annotations

from collections.abc import Callable

from generation.embedded.graph import Quantity, constant
from generation.embedded.story import Person, Story, Unsuitable, divisors

Ending = Callable[[Story], Quantity]


def _known(story: Story, count: int) -> list[Person]:
    known = [person for person in story.people if person.amount is not None]
    if len(known) < count:
        raise Unsuitable
    return known


def own(story: Story) -> Quantity:
    """Ask what the hero has: v."""
    story.tell(f"How many {story.things} does {story.hero.name} have now?")
    return story.amount


def other(story: Story) -> Quantity:
    """Ask what the last person told of has: w."""
    person = _known(story, 2)[-1]
    story.tell(f"How many {story.things} does {person.name} have?")
    assert person.amount is not None
    return person.amount


def together(story: Story) -> Quantity:
    """Ask what all have together: v + w, and so on for a third person."""
    people = _known(story, 2)
    story.tell(
        f"How many {story.things} do they have together?", f"How many {story.things} do they have in all?"
    )
    total = story.amount
    for person in people[1:]:
        assert person.amount is not None
        total = story.work(total + person.amount, f"Together they have {{}} {story.things}.")
    return total


def needed(story: Story) -> Quantity:
    """The hero wants a: a - v."""
    goal = story.count(int(story.amount.value) // story.scale + 2, int(story.amount.value) + 20 * story.scale)
    hero, things = story.hero, story.things
    story.tell(f"{hero.name} wants {goal.value} {things}. How many more does {hero.pronoun} need?")
    return story.work(goal - story.amount, f"{hero.name} needs {{}} more {things}.")


def sold(story: Story) -> Quantity:
    """The hero sells all for a dollars each: v * a."""
    price, hero, things = story.number(2, 5), story.hero, story.things
    story.tell(
        f"{hero.name} sells all {hero.possessive} {things} for ${price.value} each. "
        f"How many dollars does {hero.pronoun} get?"
    )
    return story.work(story.amount * price, f"{hero.name} gets {{}} dollars.")


def change(story: Story) -> Quantity:
    """The hero paid a dollars for each from b dollars: b - v * a."""
    price, hero = story.number(2, 4), story.hero
    cost = story.work(story.amount * price, "The price is {} dollars.")
    paid = story.state(story.scale * 10 * (int(cost.value) // (10 * story.scale) + story.rng.randint(1, 3)))
    story.tell(
        f"{hero.name} had paid ${price.value} for each of these {story.things} from ${paid.value}. "
        "How many dollars were left?"
    )
    return story.work(paid - cost, f"{hero.name} had {{}} dollars left.")


def packed(story: Story) -> Quantity:
    """The hero packs all by a: v / a."""
    fitting = divisors(story.amount.value, 2, 9)
    if not fitting:
        raise Unsuitable
    size, hero = story.state(story.rng.choice(fitting)), story.hero
    story.tell(
        f"{hero.name} packs them in {story.container} of {size.value}. "
        f"How many {story.container} does {hero.pronoun} fill?"
    )
    return story.work(story.amount / size, f"{hero.name} fills {{}} {story.container}.")


def shared_among(story: Story) -> Quantity:
    """The hero shares all among a friends and keeps none: v / a."""
    fitting = divisors(story.amount.value, 2, 9)
    if not fitting:
        raise Unsuitable
    friends, hero = story.state(story.rng.choice(fitting)), story.hero
    story.tell(f"{hero.name} shares them equally among {friends.value} friends. How many does each get?")
    return story.work(story.amount / friends, f"Each gets {{}} {story.things}.")


def shared_with(story: Story) -> Quantity:
    """The hero and a friends share all: v / (a + 1)."""
    fitting = divisors(story.amount.value, 3, 9)
    if not fitting:
        raise Unsuitable
    friends, hero = story.state(story.rng.choice(fitting) - 1), story.hero
    story.tell(f"{hero.name} and {friends.value} friends share them equally. How many does each get?")
    people = story.work(friends + constant(1), "They are {} people.")
    return story.work(story.amount / people, f"Each gets {{}} {story.things}.")


ALONE: dict[str, tuple[Ending, float]] = {
    "own": (own, 1.5),
    "needed": (needed, 1.0),
    "sold": (sold, 1.0),
    "change": (change, 0.5),
    "packed": (packed, 0.7),
    "shared_among": (shared_among, 0.8),
    "shared_with": (shared_with, 0.8),
}
COMPARED: dict[str, tuple[Ending, float]] = {"other": (other, 1.0), "together": (together, 1.0)}
