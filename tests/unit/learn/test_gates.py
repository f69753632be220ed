"""Which groups are learnt from, and that noise is no difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.learn.grpo.advantages import outcome_advantages
from generation.learn.grpo.gates import REASONS, GateConfig, Verdict, count, gate, to_redraw
from shepherd.config import load_config
from shepherd.errors import ShepherdError


@pytest.mark.parametrize(
    ("rewards", "settings", "reason"),
    [
        ([0, 1, 1, 0], {}, "kept"),
        ([1, 1, 1, 1], {}, "zero_variance"),
        ([0, 0], {}, "zero_variance"),
        ([0.5], {}, "zero_variance"),
        ([0.7, 0.7 + 1e-7], {}, "zero_variance"),
        ([0.7, 0.7001], {}, "kept"),
        ([1000.0, 1000.0005], {}, "zero_variance"),  # within 1e-6 of 1000
        ([1000.0, 1000.01], {}, "kept"),
        ([0.7, 0.7 + 1e-7], {"absolute_epsilon": 0, "relative_epsilon": 0}, "kept"),
        ([0.7, 0.7], {"absolute_epsilon": 0, "relative_epsilon": 0}, "zero_variance"),
        ([0.0, 0.0], {"relative_epsilon": 0.5, "absolute_epsilon": 0}, "zero_variance"),
        ([1, 1], {"zero_variance": False}, "kept"),
        ([0.1, 0.4], {"minimum_quality": 0.5}, "minimum_quality"),
        ([0.1, 0.5], {"minimum_quality": 0.5}, "kept"),
        ([0.1, 0.5 - 1e-7], {"minimum_quality": 0.5}, "kept"),  # noise decides nothing here either
        ([0, 0], {"minimum_quality": 0.5}, "minimum_quality"),  # asked before the variance
        ([1, 1], {"minimum_quality": 0.5}, "zero_variance"),
        ([0, 0], {"hybrid_weight": 0.1}, "kept"),  # the absolute term speaks of it
        ([1, 1], {"hybrid_weight": 0.1}, "kept"),
        ([0.5, 0.5], {"hybrid_weight": 0.1}, "zero_variance"),  # and of this it cannot
        ([np.nan, 1], {}, "unscorable"),
        ([np.nan, np.nan], {"zero_variance": False}, "unscorable"),
        ([np.inf, 1], {}, "unscorable"),
        ([np.nan, 0], {"minimum_quality": 0.5}, "unscorable"),
    ],
)
def test_verdicts(rewards: list[float], settings: dict[str, float], reason: str) -> None:
    verdict = gate(np.array(rewards, dtype=np.float64), GateConfig(**settings))  # type: ignore[arg-type]
    assert verdict == Verdict(reason == "kept", reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("group", [np.zeros(0), np.zeros((2, 2))])
def test_what_is_no_group_is_refused(group: np.ndarray) -> None:
    with pytest.raises(ValueError, match="G at least 1"):
        gate(group, GateConfig())


@given(st.permutations(range(5)), st.lists(st.sampled_from((0.1, 0.2, 0.3)), min_size=5, max_size=5))
def test_sums_in_another_order_are_equal_rewards(order: list[int], parts: list[float]) -> None:
    """The same parts added in float32 in two orders differ by noise, which `std != 0` lets pass."""
    one = np.float32(0)
    other = np.float32(0)
    for at in range(5):
        one += np.float32(parts[at])
        other += np.float32(parts[order[at]])
    assert gate(np.array([one, other]), GateConfig()).reason == "zero_variance"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_the_gate_keeps_exactly_what_has_advantages(rewards: list[float]) -> None:
    """Gate and advantages have one idea of equal."""
    config, values = GateConfig(), np.array(rewards)
    assert gate(values, config).keep == bool(outcome_advantages(values, config.tolerance).any())


def test_every_reason_is_counted() -> None:
    assert count([]) == dict.fromkeys(REASONS, 0)
    verdicts = [
        gate(np.array(each), GateConfig(minimum_quality=0.2)) for each in ([0, 1], [1, 1], [0, 0], [np.nan])
    ]
    assert count(verdicts) == dict.fromkeys(REASONS, 1)


def test_resampling_ends_at_its_bound() -> None:
    failed = [Verdict(False, reason) for reason in REASONS[1:]]
    drawn = 0
    while to_redraw([Verdict(True, "kept"), *failed], drawn, GateConfig(max_resamples=4)) == [1, 2, 3]:
        drawn += 1
    assert drawn == 4
    assert to_redraw(failed, 0, GateConfig()) == []  # off by default
    assert to_redraw([Verdict(True, "kept")], 0, GateConfig(max_resamples=4)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("absolute_epsilon", "-1"),
        ("relative_epsilon", "1"),
        ("max_resamples", "101"),
        ("hybrid_weight", "-0.1"),
        ("minimum_quality", ".nan"),
    ],
)
def test_settings_out_of_range_are_told_by_key(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(f"{key}: {value}\n")
    with pytest.raises(ShepherdError, match=key):
        load_config(GateConfig, "grpo", str(path))
