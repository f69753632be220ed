"""Bootstrap intervals: scipy's own BCa, known cases, pairing, and what the seed fixes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from eval.intervals import bootstrap_intervals, bootstrap_means, percentile_intervals, widened_level


def test_the_interval_of_a_proportion_is_the_normal_one() -> None:
    values = np.repeat([1.0, 0.0], [800, 200])[:, None]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    for interval in (percentile_intervals, bootstrap_intervals):
        low, high = interval(values, seed=3)[0]
        assert (low, high) == (pytest.approx(0.8 - half, abs=2e-3), pytest.approx(0.8 + half, abs=2e-3))


def test_each_column_is_what_scipy_gives_for_it_alone() -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.random(40) ** 4, rng.random(40), rng.integers(0, 2, 40), -rng.random(40)])
    found = bootstrap_intervals(values, 2000, seed=4)
    for column, (low, high) in zip(values.T, found, strict=True):
        alone = stats.bootstrap(
            (column,), np.mean, n_resamples=2000, method="BCa", confidence_level=widened_level(40),
            rng=np.random.default_rng(4), vectorized=True,
        ).confidence_interval  # fmt: skip
        # A mean that is the same number but for its last digit may stand on the other side of another.
        assert (low, high) == (pytest.approx(alone.low, abs=2e-3), pytest.approx(alone.high, abs=2e-3))
    np.testing.assert_allclose(found[0], bootstrap_intervals(values[:, :1], 2000, seed=4)[0], rtol=1e-12)


def test_a_long_tail_moves_the_interval_to_its_side() -> None:
    values = np.random.default_rng(1).exponential(size=(60, 1))
    plain, corrected = percentile_intervals(values)[0], bootstrap_intervals(values)[0]
    assert corrected[1] > plain[1] and corrected[0] > plain[0]


@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.25, 1.0])
def test_where_bca_has_no_value_the_percentiles_take_its_place_in_silence(value: float) -> None:
    values = np.column_stack([np.full(50, value), np.random.default_rng(0).random(50)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bootstrap_intervals(values, 300)
    mean = values.mean(axis=0)[0]
    assert found[0].tolist() == [mean, mean]
    assert found[1, 0] < values[:, 1].mean() < found[1, 1]


def test_columns_share_their_draws_so_a_constant_difference_has_no_width() -> None:
    values = np.random.default_rng(0).random((50, 1))
    means = bootstrap_means(np.hstack((values, values + 0.25)), 300, seed=5)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25)
    assert percentile_intervals(np.full((50, 1), 0.25), 300)[0] == pytest.approx([0.25, 0.25])


def test_draws_depend_on_the_seed_alone_not_on_the_memory_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((40, 3))
    whole, bounds = bootstrap_means(values, 100, seed=1), bootstrap_intervals(values, 100, seed=1)
    monkeypatch.setattr("eval.intervals._CELLS", 40 * 7)
    np.testing.assert_allclose(bootstrap_means(values, 100, seed=1), whole, rtol=1e-12)
    np.testing.assert_allclose(bootstrap_intervals(values, 100, seed=1), bounds, rtol=1e-12)
    assert not np.array_equal(bootstrap_means(values, 100, seed=2), whole)


def test_one_problem_and_none() -> None:
    for interval in (percentile_intervals, bootstrap_intervals):
        assert interval(np.array([[0.5]]), 10).tolist() == [[0.5, 0.5]]
        with pytest.raises(ValueError, match="no problems"):
            interval(np.zeros((0, 1)))


@pytest.mark.parametrize("problems", [2, 3, 4, 5])
def test_few_problems_give_an_interval_within_their_values(problems: int) -> None:
    values = np.random.default_rng(problems).random((problems, 1))
    low, high = bootstrap_intervals(values, 500)[0]
    assert values.min() - 1e-12 <= low <= values.mean() <= high <= values.max() + 1e-12


def test_the_widened_level_is_students() -> None:
    """For normal data the interval is Student's: its level makes up for the bootstrap's smaller spread."""
    problems = 12
    half = stats.norm.ppf((1 + widened_level(problems)) / 2) * np.sqrt((problems - 1) / problems)
    assert half == pytest.approx(stats.t.ppf(0.975, problems - 1))
