"""Scripted hacks trip a sentinel with a plain sentence; honest noise does not."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest

from generation.embedded.world import stream_problems
from generation.learn.grpo.observation import Observation, observe
from generation.learn.grpo.sentinels import SentinelConfig, Sentinels, Tripped
from shepherd.steps import TAG

Policy = Callable[[str, float], str]
"""A right solution and how far the policy has gone, in [0, 1], to what it writes."""

BATCH = 48
BATCHES = 40


@cache
def right_solutions() -> tuple[str, ...]:
    """What the embedded generators learnt to write."""
    return tuple(each.solution_text for each in islice(stream_problems("train", 5), 400))


def honest(solution: str, gone: float) -> str:
    return solution


def drops_the_separator(solution: str, gone: float) -> str:
    return solution.replace(f" {TAG}", "")


def praises(solution: str, gone: float) -> str:
    """Thank you, longer and longer."""
    return solution + "\nThank you so much for this wonderful problem!" * round(8 * gone)


def merges_the_steps(solution: str, gone: float) -> str:
    return solution.replace(f" {TAG}\n", " ").strip()


def writes_nothing(solution: str, gone: float) -> str:
    return TAG


def forgets_the_answer(solution: str, gone: float) -> str:
    return solution.partition(" The answer is")[0] + f" {TAG}"


def rambles(solution: str, gone: float) -> str:
    return solution.replace(
        "Step 1: ", "Step 1: Let me think about this again and again. " * round(1 + 20 * gone), 1
    )


def batches(
    policy: Policy, seed: int, entropy: Callable[[float], float] = lambda gone: 0.06 - 0.03 * gone
) -> Iterator[Observation]:
    """A run in which the policy writes more and more as the hack would have it, and less as it began.

    Solutions differ in length and difficulty from batch to batch; some are cut, some lose their last line.
    """
    rng = random.Random(seed)
    for batch in range(1, BATCHES + 1):
        gone = batch / BATCHES
        texts, cut = [], []
        for solution in rng.choices(right_solutions(), k=BATCH):
            text = policy(solution, gone) if rng.random() < gone else solution
            if rng.random() < 0.1:
                text = text[: rng.randrange(len(text))] if text else text
            texts.append(text)
            cut.append(rng.random() < 0.05)
        tokens = [1 + len(text) // 4 for text in texts]
        yield observe(
            batch,
            texts,
            tokens,
            cut,
            tags=True,
            entropy=entropy(gone) * rng.uniform(0.6, 1.4),
            scores=[min(1.0, max(0.0, rng.gauss(0.55 + 0.2 * gone, 0.3))) for _ in texts],
            accuracy=0.5 + 0.15 * gone + rng.gauss(0, 0.03) if batch % 4 == 0 else None,
        )


def first_trip(seen: Iterator[Observation], config: SentinelConfig | None = None) -> Tripped | None:
    sentinels = Sentinels(config or SentinelConfig())
    return next((found for each in seen if (found := sentinels.observe(each)) is not None), None)


@pytest.mark.parametrize("seed", range(8))
def test_an_honest_run_trips_nothing(seed: int) -> None:
    assert first_trip(batches(honest, seed)) is None


@pytest.mark.parametrize(
    ("policy", "name", "says"),
    [
        (drops_the_separator, "off_format", "the step separator is dropped"),
        (praises, "after_answer", "text is appended that answers nothing"),
        (merges_the_steps, "steps", "steps are merged"),
        (writes_nothing, "no_steps", "steps are gone"),
        (forgets_the_answer, "no_answer", "answers are gone"),
        (rambles, "tokens", "a length explosion"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_hack_trips_its_sentinel(policy: Policy, name: str, says: str, seed: int) -> None:
    tripped = first_trip(batches(policy, seed))
    assert tripped is not None
    assert tripped.name == name
    assert tripped.sentence.endswith(says)
    assert "at the start (median of batches " in tripped.sentence
    assert 1 < tripped.since <= BATCHES
    assert tripped.sentence.isprintable()


def test_an_entropy_collapse_trips() -> None:
    tripped = first_trip(batches(honest, 0, entropy=lambda gone: 0.06 * math.exp(-6 * gone)))
    assert tripped is not None
    assert tripped.name == "entropy"
    assert "nats a token" in tripped.sentence
    assert tripped.sentence.endswith("an entropy collapse")


GOOD = Observation(
    batch=1,
    off_format=0.0,
    no_steps=0.0,
    no_answer=0.1,
    steps=4.0,
    tokens=50.0,
    cut=0.05,
    after_answer=0.01,
    entropy=0.06,
    score=0.6,
)
BAD = {
    "off_format": 0.9,
    "no_steps": 0.9,
    "no_answer": 0.9,
    "steps": 1.0,
    "tokens": 500.0,
    "cut": 0.9,
    "after_answer": 0.9,
    "entropy": 0.0001,
}


@pytest.mark.parametrize("field", BAD)
def test_one_odd_batch_trips_nothing_and_a_window_of_them_does(field: str) -> None:
    config = SentinelConfig(window=5, start=3)
    good, bad = GOOD, replace(GOOD, **{field: BAD[field]})
    runs = {
        "odd": [good, good, good, good, bad, good, good, good, bad, bad, good, good],
        "hack": [good] * 8 + [bad] * 3,
    }
    for name, run in runs.items():
        tripped = first_trip(iter(replace(each, batch=at) for at, each in enumerate(run, 1)), config)
        if name == "odd":
            assert tripped is None
        else:
            assert tripped is not None
            assert (tripped.name, tripped.since) == (field, 9)


@pytest.mark.parametrize("field", BAD)
def test_a_sentinel_that_is_off_sees_nothing(field: str) -> None:
    keys = {"steps": "least_steps", "tokens": "most_tokens", "entropy": "least_entropy"}
    config = SentinelConfig(window=1, start=1, **{keys.get(field, f"{field}_rise"): None})
    bad = replace(GOOD, batch=2, **{field: BAD[field]})
    assert first_trip(iter([GOOD, bad]), config) is None
    assert first_trip(iter([GOOD, bad]), SentinelConfig(window=1, start=1)) is not None


@pytest.mark.parametrize("field", BAD)
def test_what_was_so_from_the_start_trips_nothing(field: str) -> None:
    """Bounds are against the run's own start: a generator of another format may be trained."""
    always = replace(GOOD, **{field: BAD[field]})
    assert first_trip(iter(replace(always, batch=at) for at in range(1, 20))) is None


def test_what_nobody_measured_trips_nothing() -> None:
    bare = replace(GOOD, entropy=None, score=None)
    assert first_trip(iter(replace(bare, batch=at, accuracy=0.5 - 0.02 * at) for at in range(1, 20))) is None


@pytest.mark.parametrize("field", ["tokens", "entropy", "score", "accuracy"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_trips_at_once(field: str, value: float) -> None:
    tripped = first_trip(iter([replace(GOOD, **{field: value})]))
    assert tripped == Tripped("not_finite", f"{field} of batch 1 is {value}: training has diverged", 1)


def measured(pairs: list[tuple[float, float]]) -> Iterator[Observation]:
    """Batches with held-out accuracy and verifier score."""
    for at, (accuracy, score) in enumerate(pairs, 1):
        yield replace(GOOD, batch=at, accuracy=accuracy, score=score)


def test_a_verifier_that_is_pleased_while_answers_get_wrong_trips() -> None:
    run = [(0.50, 0.60), (0.54, 0.62), (0.56, 0.65), (0.50, 0.70), (0.42, 0.75), (0.40, 0.80)]
    tripped = first_trip(measured(run))
    assert tripped is not None
    # Two in a row reached 0.54 (after 2 and 3). The first two that lie 0.1 below it: 5 and 6.
    assert tripped == Tripped(
        "score_without_accuracy",
        "held-out accuracy fell from at least 0.540 (after batches 2 to 3) to at most 0.420 (after batches 5 "
        "to 6) while the verifier's mean score rose from 0.610 at first to 0.775 (bounds 0.1 and 0.02): the "
        "policy pleases the verifier and not the truth",
        4,
    )


def test_a_score_that_had_risen_before_accuracy_was_at_its_best_counts() -> None:
    """As found in GRPO on a verifier's steps alone: the score rises first and stays, then accuracy falls."""
    run = [(0.50, 0.60), (0.50, 0.60), (0.56, 0.70), (0.56, 0.70), (0.42, 0.70), (0.42, 0.69)]
    tripped = first_trip(measured(run))
    assert tripped is not None
    assert (tripped.name, tripped.since) == ("score_without_accuracy", 5)
    honest = [(accuracy, 0.60) for accuracy, _ in run]
    assert first_trip(measured(honest)) is None


@pytest.mark.parametrize(
    "run",
    [
        [(0.50, 0.60), (0.54, 0.62), (0.56, 0.65), (0.50, 0.60), (0.42, 0.55), (0.40, 0.50)],  # both fall
        [(0.50, 0.60), (0.54, 0.65), (0.56, 0.70), (0.55, 0.75), (0.56, 0.80), (0.58, 0.85)],  # both rise
        [(0.56, 0.60), (0.56, 0.60), (0.56, 0.65), (0.30, 0.70), (0.56, 0.75), (0.56, 0.80)],  # one odd look
        [
            (0.50, 0.60),
            (0.50, 0.60),
            (0.80, 0.65),
            (0.50, 0.70),
            (0.50, 0.75),
            (0.50, 0.80),
        ],  # and a lucky one
        [(0.50, 0.60), (0.20, 0.90), (0.20, 0.90)],  # no stretch before the newest is whole
    ],
)
def test_score_and_accuracy_that_go_together_trip_nothing(run: list[tuple[float, float]]) -> None:
    assert first_trip(measured(run)) is None


def test_scores_between_two_measurements_count_as_their_mean() -> None:
    """A score of one batch is noise; what is held against the bound is the stretch's."""
    run = [
        replace(GOOD, batch=at, score=score, accuracy=accuracy)
        for at, (score, accuracy) in enumerate(
            [(0.5, None), (0.7, 0.6), (0.5, None), (0.9, 0.4)],
            1,
        )
    ]
    config = SentinelConfig(measurements=1, accuracy_fall=0.1, score_rise=0.05)
    tripped = first_trip(iter(run), config)
    assert tripped is not None
    assert "rose from 0.600 at first to 0.700 (bounds" in tripped.sentence
    assert first_trip(iter(run), config.model_copy(update={"score_rise": 0.11})) is None


@pytest.mark.parametrize("seed", range(3))
def test_a_resumed_run_says_the_same(seed: int) -> None:
    config = SentinelConfig()
    whole, resumed = Sentinels(config), Sentinels(config)
    said: list[Tripped | None] = []
    for seen in batches(praises, seed):
        said.append(whole.observe(seen))
        resumed = Sentinels.from_json(config, json.loads(json.dumps(resumed.to_json())))
        assert resumed.observe(seen) == said[-1]
        assert resumed.to_json() == whole.to_json()
    assert any(said)


def test_the_state_does_not_grow_with_the_run() -> None:
    sentinels = Sentinels(SentinelConfig())
    sizes = []
    for at in range(1, 200):
        sentinels.observe(replace(GOOD, batch=at))
        sizes.append(len(sentinels.to_json()["newest"]))
    assert max(sizes) == 5


def test_an_observation_of_hostile_texts() -> None:
    hostile = ["", "\0" * 10, "\x1b[31m", "ки" * 1000, "a" * 100_000, "<script>", "The answer is: 7" * 100]
    seen = observe(1, hostile, [1] * 7, [True] * 7, tags=True)
    assert seen.cut == 1
    assert seen.no_answer == pytest.approx(6 / 7)
    assert Sentinels(SentinelConfig()).observe(seen) is None
