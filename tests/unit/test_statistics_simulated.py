"""What the intervals cover, how often the test errs, what it detects: by simulation.

4,000 simulations a case. A true coverage of 95% is observed with a standard error of 0.34 points, so one that
is right falls outside [93, 97] once in 10^8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eval.intervals import bootstrap_intervals
from eval.scores import FloatArray
from eval.sign_flips import sign_flip_p
from eval.significance import detectable_difference

SIMULATIONS = 4000
Draw = Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray]]


def accuracies(problems: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Right or wrong, the true accuracy of each simulation between 50 and 90%."""
    true = rng.uniform(0.5, 0.9, SIMULATIONS)
    return (rng.random((problems, SIMULATIONS)) < true).astype(float), true


def differences(problems: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A rule that mends 15% of problems and spoils 8%: the differences are skewed."""
    uniform = rng.random((problems, SIMULATIONS))
    return (uniform < 0.15) * 1.0 - (uniform > 0.92) * 1.0, np.full(SIMULATIONS, 0.07)


def rare_gains(problems: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A rule that mends 10% of problems and spoils 2%."""
    uniform = rng.random((problems, SIMULATIONS))
    return (uniform < 0.10) * 1.0 - (uniform > 0.98) * 1.0, np.full(SIMULATIONS, 0.08)


def expectations(problems: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Differences of expected accuracies below the pool's size: continuous, a long tail of gains."""
    shape = (problems, SIMULATIONS)
    gains = rng.beta(0.3, 2.0, shape) - 0.1 * (rng.random(shape) < 0.5)
    return gains, np.full(SIMULATIONS, 0.3 / 2.3 - 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("problems", [50, 100, 400])
@pytest.mark.parametrize("draw", [accuracies, differences, rare_gains, expectations])
def test_95_per_cent_intervals_cover_95_per_cent(draw: Draw, problems: int) -> None:
    values, true = draw(problems, np.random.default_rng([problems, 7]))
    low, high = bootstrap_intervals(values, 4000, seed=1).T
    covered = np.mean((low <= true + 1e-9) & (true - 1e-9 <= high))
    print(f"{draw.__name__}, {problems} problems: {100 * covered:.1f}% of {SIMULATIONS} intervals cover")
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
def test_below_50_problems_rare_differences_are_covered_less_often() -> None:
    """The limit that docs/results.md states: one such sample of 20 in eight holds no gain at all."""
    values, true = rare_gains(20, np.random.default_rng([20, 7]))
    low, high = bootstrap_intervals(values, 4000, seed=1).T
    covered = np.mean((low <= true + 1e-9) & (true - 1e-9 <= high))
    print(f"rare_gains, 20 problems: {100 * covered:.1f}% of {SIMULATIONS} intervals cover")
    assert 0.80 <= covered < 0.93


def level(problems: int, rng: np.random.Generator) -> FloatArray:
    uniform = rng.random((problems, SIMULATIONS))
    return (uniform < 0.1) * 1.0 - (uniform > 0.9) * 1.0


def level_expectations(problems: int, rng: np.random.Generator) -> FloatArray:
    """No mean difference, but not symmetric: what the test assumes only in the limit."""
    shape = (problems, SIMULATIONS)
    return rng.beta(0.3, 2.0, shape) - 0.3 / 2.3


@pytest.mark.slow
@pytest.mark.parametrize("problems", [50, 400])
@pytest.mark.parametrize(("draw", "least"), [(level, 0.0), (level_expectations, 0.03)])
def test_rules_that_are_alike_are_told_apart_in_5_per_cent(
    draw: Callable[[int, np.random.Generator], FloatArray], least: float, problems: int
) -> None:
    """Where few problems differ the exact test errs less often: its p-values are few."""
    values = draw(problems, np.random.default_rng([problems, 8]))
    erred = np.mean(sign_flip_p(values, 4000, seed=2) <= 0.05)
    print(f"{draw.__name__}, {problems} problems: p <= 0.05 in {100 * erred:.1f}% of {SIMULATIONS}")
    assert least <= erred <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("problems", [200, 1319])
def test_the_detectable_difference_is_seen_in_80_per_cent(problems: int) -> None:
    """One in five problems differs; the gap is what was called detectable of such data without a gap."""
    rng = np.random.default_rng([problems, 9])
    pilot = np.repeat([1.0, -1.0, 0.0], [problems // 10, problems // 10, problems - 2 * (problems // 10)])
    gap = detectable_difference(pilot)
    assert gap is not None
    uniform = rng.random((problems, SIMULATIONS))
    values = (uniform < 0.1 + gap / 2) * 1.0 - (uniform > 0.9 + gap / 2) * 1.0
    seen = np.mean((sign_flip_p(values) <= 0.05) & (values.mean(axis=0) > 0))
    print(f"{problems} problems, {100 * gap:.2f} points: seen in {100 * seen:.1f}% of {SIMULATIONS}")
    assert 0.76 <= seen <= 0.84
