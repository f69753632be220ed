"""Calibration error and its kin: by hand, against scikit-learn's curve, and resampled by plain repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from eval.reliability import (
    CLIP,
    ScoredSteps,
    bins_of,
    expected_calibration_error,
    reliability,
    reliability_bins,
    reliability_intervals,
)


def steps(score: np.ndarray, good: np.ndarray, problem: np.ndarray | None = None) -> ScoredSteps:
    problem = np.arange(len(score)) if problem is None else problem
    problems = int(problem.max(initial=-1)) + 1
    return ScoredSteps(score, good, np.zeros(len(score), dtype=np.int64), problem, problems)


def drawn_steps(seed: int, size: int = 60) -> ScoredSteps:
    rng = np.random.default_rng(seed)
    score = np.round(rng.beta(2, 0.5, size=size), 2)
    return steps(score, rng.random(size) < score, rng.integers(0, 10, size=size))


def test_by_hand() -> None:
    of = steps(np.array([0.1, 0.3, 0.8, 1.0]), np.array([False, True, True, True]))
    assert [tuple(each) for each in reliability_bins(of, 2)] == [
        pytest.approx((0.2, 0.5, 2)),
        pytest.approx((0.9, 1.0, 2)),
    ]
    found = reliability(of, 2)
    assert found.ece == pytest.approx((0.3 * 2 + 0.1 * 2) / 4)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.04 + 0) / 4)
    assert found.nll == pytest.approx(-(np.log(0.9) + np.log(0.3) + np.log(0.8) + np.log(1 - CLIP)) / 4)


@given(st.integers(0, 100_000), st.integers(2, 20))
def test_bins_are_those_of_scikit_learns_quantile_curve(seed: int, bins: int) -> None:
    of = drawn_steps(seed)
    share, mean = calibration_curve(of.good, of.score, n_bins=bins, strategy="quantile")
    found = reliability_bins(of, bins)
    assert [each.share_good for each in found] == pytest.approx(share.tolist())
    assert [each.mean_score for each in found] == pytest.approx(mean.tolist())
    assert sum(each.steps for each in found) == len(of.score)


@given(st.integers(0, 100_000))
def test_equal_scores_share_a_bin(seed: int) -> None:
    of = drawn_steps(seed)
    at = bins_of(of.score)
    for value in np.unique(of.score):
        assert len(set(at[of.score == value])) == 1


def test_perfect_and_hopeless_scores() -> None:
    sure = steps(np.array([0.0, 0.0, 1.0, 1.0]), np.array([False, False, True, True]))
    assert reliability(sure) == pytest.approx((-np.log(1 - CLIP), 0.0, 0.0))
    wrong = steps(sure.score, ~sure.good)
    assert reliability(wrong) == pytest.approx((-np.log(CLIP), 1.0, 1.0), rel=1e-6)
    assert reliability(steps(np.zeros(0), np.zeros(0, dtype=bool))) == (None, None, None)
    assert expected_calibration_error([]) is None


@given(st.integers(0, 100_000))
def test_resamples_are_the_steps_so_many_times(seed: int) -> None:
    """Of a figure that is a mean over steps the resamples must be that mean; the bins stay the sample's."""
    from eval import reliability as module

    of = drawn_steps(seed)
    counts = np.random.default_rng(seed).integers(0, 3, size=of.problems)
    if counts[of.problem].sum() == 0:
        return
    again = np.repeat(np.arange(len(of.score)), counts[of.problem])
    drawn: list[float] = []

    def keep(value: float | None, values: np.ndarray) -> None:
        drawn.append(float(values[0]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "problem_weights", lambda *_: iter([counts[None].astype(float)]))
        patch.setattr(module, "interval", keep)
        reliability_intervals(of, bins=5, resamples=1)
    score, good, at = of.score[again], of.good[again], bins_of(of.score, 5)[again]
    assert drawn[1] == pytest.approx(np.mean((score - good) ** 2))
    gaps = [abs((score - good)[at == each].sum()) for each in range(5)]
    assert drawn[2] == pytest.approx(sum(gaps) / len(again))
    clipped = np.clip(score, CLIP, 1 - CLIP)
    assert drawn[0] == pytest.approx(-np.log(np.where(good, clipped, 1 - clipped)).mean())


def test_the_interval_of_a_calibration_error_holds_its_value() -> None:
    """Plain percentiles lie above it: a resample adds sampling error to that of the sample."""
    of = drawn_steps(0, 400)
    value, bounds = reliability(of), reliability_intervals(of, resamples=500)
    for name in ("nll", "brier", "ece"):
        low, high = bounds[name] or (1, 0)
        assert low <= getattr(value, name) <= high, name
