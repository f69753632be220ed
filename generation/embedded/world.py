"""Word problems in the manner of GSM8K, drawn by seed, with splits that share no quantity graph.

A problem's split is a hash of its canonical quantity graph (names, things, wording and the order of
operands gone), so the same calculation can never stand in two splits, however it is told.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from generation.embedded import events, questions
from generation.embedded.graph import Quantity
from generation.embedded.story import CONTAINERS, LARGEST, NAMES, OBJECTS, Person, Story, Unsuitable
from shepherd import steps as step_text
from shepherd.records import Problem

Split = Literal["train", "validation", "test"]
_SHARES: dict[Split, range] = {"train": range(80), "validation": range(80, 90), "test": range(90, 100)}
MIN_STEPS, MAX_STEPS = 2, 8


@dataclass(frozen=True, eq=False)
class EmbeddedProblem:
    """A problem with what the checker needs: its quantities, and one right solution.

    ``quantities`` are the givens and everything the right solution computes; ``answer`` is what is asked.
    """

    problem: Problem
    solution: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    answer: Quantity
    kinds: tuple[str, ...]

    @property
    def solution_text(self) -> str:
        """The right solution in Math-Shepherd text, each step closed by the tag."""
        return step_text.render(self.solution)


def split_of(answer: Quantity) -> Split:
    """The split that a canonical quantity graph belongs to."""
    bucket = int.from_bytes(hashlib.sha256(answer.canonical.encode()).digest()[:8], "big") % 100
    return next(split for split, share in _SHARES.items() if bucket in share)


def generate_problems(split: Split, count: int, seed: int, twin_share: float = 1.0) -> list[EmbeddedProblem]:
    """Draw ``count`` problems of a split with pairwise different quantity graphs.

    Args:
        split: ``train``, ``validation`` or ``test``; no quantity graph stands in two of them.
        count: problems to draw, at least 0.
        seed: the same seed gives the same problems.
        twin_share: weight of the easily confused kinds (``events.TWINS``), 1.0 in the world as it is.
            Training text with less makes a generator that has half learnt them.

    Returns:
        Problems with ids ``<split>-<seed>-<index>``.
    """
    found: list[EmbeddedProblem] = []
    seen: set[str] = set()
    stream = stream_problems(split, seed, twin_share)
    while len(found) < count:
        drawn = next(stream)
        if drawn.answer.canonical not in seen:
            seen.add(drawn.answer.canonical)
            found.append(drawn)
    return found


def stream_problems(split: Split, seed: int, twin_share: float = 1.0) -> Iterator[EmbeddedProblem]:
    """Draw problems of a split without end; repeats are possible, as in any training text."""
    rng = random.Random(f"{split}:{seed}")
    index = 0
    while True:
        try:
            drawn = _draw(rng, f"{split}-{seed}-{index}", twin_share)
        except Unsuitable:
            continue
        if split_of(drawn.answer) == split:
            index += 1
            yield drawn


def _draw(rng: random.Random, name: str, twin_share: float) -> EmbeddedProblem:
    story = Story(rng, _people(rng), rng.choice(OBJECTS), container=rng.choice(CONTAINERS))
    story.scale = 10 if rng.random() < 0.15 else 1
    start = rng.choice((rng.randint(4, 50), 10 * rng.randint(1, 6), 12 * rng.randint(1, 4)))
    story.hero.amount = story.state(story.scale * start)
    story.tell(f"{story.hero.name} has {story.amount.value} {story.things}.")
    compared = rng.random() < 0.5
    for _ in range(rng.choices((1, 2, 3), (3, 4, 2))[0]):
        _happen(story, events.EVENTS, twin_share)
        if rng.random() < 0.15:
            events.distract(story)
    if compared:
        _happen(story, events.COMPARISONS, twin_share)
        if len(story.people) > 2 and rng.random() < 0.3:
            _happen(story, events.COMPARISONS, twin_share)
    answer = _end(story, questions.COMPARED if compared else questions.ALONE, twin_share)
    if not MIN_STEPS <= len(story.steps) <= MAX_STEPS:
        raise Unsuitable
    solution = tuple(f"Step {i}: {step}" for i, step in enumerate(story.steps, 1))
    solution = (*solution[:-1], f"{solution[-1]} The answer is: {answer.value}")
    problem = Problem(name, " ".join(story.sentences), str(answer.value), "embedded")
    return EmbeddedProblem(problem, solution, (*story.givens, *story.quantities), answer, tuple(story.kinds))


def _people(rng: random.Random) -> list[Person]:
    everyone = [(name, pronoun) for pronoun, names in NAMES.items() for name in names]
    return [Person(name, pronoun) for name, pronoun in rng.sample(everyone, rng.choice((2, 2, 3)))]


def _happen(story: Story, kinds: dict[str, tuple[events.Event, float]], twin_share: float) -> None:
    kind = _choose(story.rng, {name: weight for name, (_, weight) in kinds.items()}, twin_share)
    if kinds is events.EVENTS and kind in story.kinds:
        raise Unsuitable
    kinds[kind][0](story)
    story.kinds.append(kind)
    if story.amount.value > LARGEST * story.scale:
        raise Unsuitable


def _end(story: Story, kinds: dict[str, tuple[questions.Ending, float]], twin_share: float) -> Quantity:
    kind = _choose(story.rng, {name: weight for name, (_, weight) in kinds.items()}, twin_share)
    answer = kinds[kind][0](story)
    story.kinds.append(kind)
    return answer


def _choose(rng: random.Random, weights: dict[str, float], twin_share: float) -> str:
    scaled = [weight * (twin_share if kind in events.TWINS else 1.0) for kind, weight in weights.items()]
    return rng.choices(list(weights), scaled)[0]
