"""What is watched of a loop: every bound trips alone, and a quiet round trips none."""

from dataclasses import replace

import pytest

from generation.learn.loop.watches import WatchConfig, Watched, alarms, loss_spread

START = Watched(
    probe_loss=0.693,
    probe_margin=0.0,
    chosen_logp=-0.06,
    rejected_logp=-0.15,
    kl=0.0,
    entropy=0.06,
    tokens=70.0,
    answered=0.99,
    gap=0.02,
)
QUIET = replace(
    START,
    probe_loss=0.6,
    probe_margin=0.2,
    chosen_logp=-0.07,
    rejected_logp=-0.4,
    kl=0.02,
    entropy=0.05,
    gap=0.05,
)


def test_a_quiet_round_has_no_alarm() -> None:
    assert alarms([START, QUIET], WatchConfig()) == []
    assert alarms([START], WatchConfig()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chosen_logp": -0.2}, "lost 0.140 nats a token (bound 0.05)"),
        ({"kl": 0.6}, "KL to the reference is 0.600"),
        ({"entropy": 0.001}, "entropy fell from 0.0600 to 0.0010"),
        ({"tokens": 120.0}, "solutions have 120 tokens, 70 before"),
        ({"tokens": 30.0}, "solutions have 30 tokens, 70 before"),
        ({"answered": 0.5}, "fell from 0.990 to 0.500"),
        ({"gap": 0.3}, "further above accuracy"),
    ],
)
def test_each_bound_trips_alone(changed: dict[str, float], said: str) -> None:
    (found,) = alarms([START, replace(QUIET, **changed)], WatchConfig())
    assert said in found


def test_an_unsteady_loss_is_told_and_an_even_one_is_not() -> None:
    even = [START, *(replace(QUIET, probe_loss=each) for each in (0.6, 0.5, 0.4, 0.3))]
    jumping = [START, *(replace(QUIET, probe_loss=each) for each in (0.6, 1.4, 0.3, 1.2))]
    assert alarms(even, WatchConfig()) == []
    (found,) = alarms(jumping, WatchConfig())
    assert "spreads by" in found


def test_what_was_not_measured_trips_nothing() -> None:
    assert alarms([Watched(), Watched()], WatchConfig()) == []
    assert loss_spread([START, QUIET, Watched()]) is None


def test_the_spread_is_the_standard_deviation_of_the_changes() -> None:
    losses = (0.69, 0.6, 0.5, 0.7)  # changes after the first update: -0.1, +0.2; mean 0.05
    assert loss_spread([Watched(probe_loss=each) for each in losses]) == pytest.approx(0.15)
