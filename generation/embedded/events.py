"""The kinds of event. Each takes a story and tells one thing that happens in it, with its steps.

Many come in pairs that read alike and compute differently ("gives away a third" and "keeps a third", "Ben
has 5 more than Mia" and "That is 5 more than Ben has"); ``TWINS`` names the second of each pair. A generator
that saw few of them in training reads them as the first: an error that all its samples share, which voting
cannot mend.

In the docstrings v is what the hero has, a and b are numbers that the sentence states, and k is a factor or
a part that it says in words.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from generation.embedded.graph import Quantity, constant
from generation.embedded.story import Person, Story, Unsuitable, divisors

Event = Callable[[Story], None]


def _change(story: Story, quantity: Quantity) -> None:
    hero, things = story.hero, story.things
    hero.amount = story.work(quantity, f"{hero.name} now has {{}} {things}.", f"That makes {{}} {things}.")


def gain(story: Story) -> None:
    """The hero gets more: v + a."""
    more, hero = story.count(2, 20 * story.scale), story.hero
    verb = story.rng.choice(("buys", "finds", "gets"))
    story.tell(f"{hero.name} {verb} {more.value} more {story.things}.")
    _change(story, story.amount + more)


def loss(story: Story) -> None:
    """The hero loses some: v - a."""
    less, hero = story.count(2, min(20 * story.scale, int(story.amount.value) - 2)), story.hero
    verb = story.rng.choice(("loses", "gives away", "sells"))
    story.tell(f"{hero.name} {verb} {less.value} {story.things}.")
    _change(story, story.amount - less)


def _groups(story: Story) -> tuple[Quantity, Quantity]:
    return story.number(2, 6), story.count(2, 9 * story.scale)


def groups_gained(story: Story) -> None:
    """The hero gets a groups of b: v + a * b."""
    count, size = _groups(story)
    hero, things, container = story.hero, story.things, story.container
    story.tell(
        f"{hero.name} buys {count.value} {container} of {size.value} {things} each.",
        f"{hero.name} gets {count.value} {container} with {size.value} {things} in each.",
    )
    bought = story.work(count * size, f"The {container} hold {{}} {things}.")
    _change(story, story.amount + bought)


def groups_lost(story: Story) -> None:
    """The hero gives away a groups of b: v - a * b."""
    count, size = _groups(story)
    hero, things, container = story.hero, story.things, story.container
    story.tell(
        f"{hero.name} fills {count.value} {container} with {size.value} {things} each and sells them.",
        f"{hero.name} gives away {count.value} {container} of {size.value} {things} each.",
    )
    gone = story.work(count * size, f"The {container} hold {{}} {things}.")
    _change(story, story.amount - gone)


def dozens_gained(story: Story) -> None:
    """The hero gets a dozens: v + a * 12."""
    if story.scale > 1:
        raise Unsuitable
    count, hero, things = story.number(2, 4), story.hero, story.things
    story.tell(
        f"{hero.name} buys {count.value} dozen {things}.",
        f"{hero.name} gets {count.value} dozen more {things}.",
    )
    bought = story.work(count * constant(12), f"The dozens are {{}} {things}.")
    _change(story, story.amount + bought)


def _times(story: Story, low: int = 2, high: int = 4) -> tuple[Quantity, str]:
    """A factor and its words; "twice" and "3 times" mean the constants 2 and 3."""
    factor = story.rng.randint(low, high)
    return constant(factor), "twice" if factor == 2 else f"{factor} times"


def grown(story: Story) -> None:
    """The hero has k times as many as before: v * k."""
    factor, words = _times(story)
    story.tell(f"Then {story.hero.name} has {words} as many {story.things} as before.")
    _change(story, story.amount * factor)


def grown_by(story: Story) -> None:
    """The hero gets k times as many on top: v + v * k."""
    factor, words = _times(story)
    hero, things = story.hero, story.things
    story.tell(f"Then {hero.name} gets {words} as many {things} as before.")
    extra = story.work(story.amount * factor, f"{hero.name} gets {{}} {things}.")
    _change(story, story.amount + extra)


def _per_day(story: Story, days: Quantity, each: Quantity) -> None:
    total = story.work(days * each, f"The days bring {{}} {story.things}.")
    _change(story, story.amount + total)


def daily(story: Story) -> None:
    """The hero gets a every day for b days: v + b * a."""
    each, days = story.count(2, 9 * story.scale), story.number(3, 9)
    story.tell(
        f"{story.hero.name} gets {each.value} {story.things} every day for {days.value} days.",
        f"For {days.value} days {story.hero.name} makes {each.value} {story.things} every day.",
    )
    _per_day(story, days, each)


def every_other_day(story: Story) -> None:
    """The hero gets a every other day for b days: v + b / 2 * a."""
    each, days = story.count(2, 9 * story.scale), story.state(2 * story.rng.randint(2, 6))
    story.tell(
        f"{story.hero.name} gets {each.value} {story.things} every other day for {days.value} days.",
        f"For {days.value} days {story.hero.name} makes {each.value} {story.things} every other day.",
    )
    half = story.work(days / constant(2), "That is {} days.")
    _per_day(story, half, each)


def weekly(story: Story) -> None:
    """The hero gets a every day for b weeks: v + b * 7 * a."""
    each, weeks = story.count(2, 4 * story.scale), story.number(2, 3)
    story.tell(f"{story.hero.name} gets {each.value} {story.things} every day for {weeks.value} weeks.")
    days = story.work(weeks * constant(7), "The weeks have {} days.")
    _per_day(story, days, each)


_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}


def _part(story: Story) -> tuple[Quantity, str]:
    fitting = divisors(story.amount.value / story.scale, 2, 5)
    if not fitting:
        raise Unsuitable
    part = story.rng.choice(fitting)
    return constant(part), _PARTS[part]


def part_given(story: Story) -> None:
    """The hero gives away one part of k: v - v / k."""
    part, words = _part(story)
    hero, things = story.hero, story.things
    story.tell(
        f"{hero.name} gives away {words} of {hero.possessive} {things}.",
        f"{hero.name} loses {words} of the {things}.",
    )
    gone = story.work(story.amount / part, f"The part is {{}} {things}.")
    _change(story, story.amount - gone)


def part_kept(story: Story) -> None:
    """The hero keeps one part of k: v / k."""
    part, words = _part(story)
    hero, things = story.hero, story.things
    story.tell(
        f"{hero.name} gives away all but {words} of {hero.possessive} {things}.",
        f"{hero.name} keeps {words} of the {things}.",
    )
    hero.amount = story.work(story.amount / part, f"The part is {{}} {things}.")


def _share(story: Story) -> tuple[Quantity, int]:
    fitting = [p for p in (10, 20, 25, 50) if story.amount.value / story.scale * p % 100 == 0]
    if not fitting:
        raise Unsuitable
    share = story.rng.choice(fitting)
    return constant(Fraction(100, share)), share


def percent_lost(story: Story) -> None:
    """The hero loses p percent: v - v / (100 / p)."""
    divisor, share = _share(story)
    story.tell(
        f"{share}% of the {story.things} break.", f"{story.hero.name} sells {share}% of the {story.things}."
    )
    gone = story.work(story.amount / divisor, f"{share}% is {{}} {story.things}.")
    _change(story, story.amount - gone)


def percent_kept(story: Story) -> None:
    """The hero keeps p percent: v / (100 / p)."""
    divisor, share = _share(story)
    story.tell(
        f"All but {share}% of the {story.things} break.",
        f"{story.hero.name} sells all but {share}% of the {story.things}.",
    )
    story.hero.amount = story.work(story.amount / divisor, f"{share}% is {{}} {story.things}.")


def _other(story: Story) -> Person:
    """The first person whose amount the story has not told yet."""
    for person in story.people[1:]:
        if person.amount is None:
            return person
    raise Unsuitable


def _compare(story: Story, other: Person, quantity: Quantity) -> None:
    other.amount = story.work(quantity, f"{other.name} has {{}} {story.things}.")


def more_than(story: Story) -> None:
    """The other has a more than the hero: v + a."""
    other, more = _other(story), story.count(2, 20 * story.scale)
    story.tell(f"{other.name} has {more.value} more {story.things} than {story.hero.name}.")
    _compare(story, other, story.amount + more)


def fewer_than(story: Story) -> None:
    """The other has a fewer than the hero: v - a."""
    other, less = _other(story), story.count(2, min(20 * story.scale, int(story.amount.value) - 2))
    story.tell(f"{other.name} has {less.value} fewer {story.things} than {story.hero.name}.")
    _compare(story, other, story.amount - less)


def hero_has_more(story: Story) -> None:
    """The hero has a more than the other, who has v - a."""
    other, less = _other(story), story.count(2, min(20 * story.scale, int(story.amount.value) - 2))
    story.tell(f"That is {less.value} more {story.things} than {other.name} has.")
    _compare(story, other, story.amount - less)


def hero_has_fewer(story: Story) -> None:
    """The hero has a fewer than the other, who has v + a."""
    other, more = _other(story), story.count(2, 20 * story.scale)
    story.tell(f"That is {more.value} fewer {story.things} than {other.name} has.")
    _compare(story, other, story.amount + more)


def times_as_many(story: Story) -> None:
    """The other has k times as many as the hero: v * k."""
    other = _other(story)
    factor, words = _times(story)
    story.tell(f"{other.name} has {words} as many {story.things} as {story.hero.name}.")
    _compare(story, other, story.amount * factor)


def hero_has_times(story: Story) -> None:
    """The hero has k times as many as the other, who has v / k."""
    other, fitting = _other(story), divisors(story.amount.value, 2, 5)
    if not fitting:
        raise Unsuitable
    factor = story.rng.choice(fitting)
    words = "twice" if factor == 2 else f"{factor} times"
    story.tell(f"That is {words} as many {story.things} as {other.name} has.")
    _compare(story, other, story.amount / constant(factor))


def distract(story: Story) -> None:
    """Tell a number that does not matter: v stays."""
    number, person = story.number(2, 40), story.rng.choice(story.people)
    story.tell(
        f"{person.name} is {number.value} years old.",
        f"There are {number.value} chairs in the room.",
        f"{person.name} also has {number.value} old hats.",
    )


EVENTS: dict[str, tuple[Event, float]] = {
    # kind: (event, weight in the world)
    "gain": (gain, 1.2),
    "loss": (loss, 1.2),
    "groups_gained": (groups_gained, 1.0),
    "groups_lost": (groups_lost, 0.8),
    "dozens_gained": (dozens_gained, 0.6),
    "grown": (grown, 1.0),
    "grown_by": (grown_by, 1.0),
    "daily": (daily, 1.0),
    "every_other_day": (every_other_day, 1.0),
    "weekly": (weekly, 0.6),
    "part_given": (part_given, 1.0),
    "part_kept": (part_kept, 1.0),
    "percent_lost": (percent_lost, 1.5),
    "percent_kept": (percent_kept, 1.5),
}
COMPARISONS: dict[str, tuple[Event, float]] = {
    "more_than": (more_than, 1.0),
    "fewer_than": (fewer_than, 1.0),
    "hero_has_more": (hero_has_more, 1.0),
    "hero_has_fewer": (hero_has_fewer, 1.0),
    "times_as_many": (times_as_many, 1.0),
    "hero_has_times": (hero_has_times, 1.5),
}
TWINS = frozenset(
    {
        "grown_by",
        "every_other_day",
        "part_kept",
        "percent_kept",
        "hero_has_more",
        "hero_has_fewer",
        "hero_has_times",
        "shared_with",
    }
)
