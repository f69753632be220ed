"""Bootstrap intervals: known cases, pairing, and what the seed fixes."""

from __future__ import annotations

import numpy as np
import pytest

from eval.intervals import bootstrap_means, percentile_intervals


def test_the_interval_of_a_proportion_is_the_normal_one() -> None:
    values = np.repeat([1.0, 0.0], [800, 200])[:, None]
    low, high = percentile_intervals(values, seed=3)[0]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (low, high) == (pytest.approx(0.8 - half, abs=2e-3), pytest.approx(0.8 + half, abs=2e-3))


def test_columns_share_their_draws_so_a_constant_difference_has_no_width() -> None:
    values = np.random.default_rng(0).random((50, 1))
    means = bootstrap_means(np.hstack((values, values + 0.25)), 300, seed=5)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25)
    assert percentile_intervals(np.full((50, 1), 0.25), 300)[0] == pytest.approx([0.25, 0.25])


def test_draws_depend_on_the_seed_alone_not_on_the_memory_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((40, 3))
    whole = bootstrap_means(values, 100, seed=1)
    monkeypatch.setattr("eval.intervals._CELLS", 40 * 7)
    np.testing.assert_allclose(bootstrap_means(values, 100, seed=1), whole, rtol=1e-12)
    assert not np.array_equal(bootstrap_means(values, 100, seed=2), whole)


def test_one_problem_and_none() -> None:
    assert percentile_intervals(np.array([[0.5]]), 10).tolist() == [[0.5, 0.5]]
    with pytest.raises(ValueError, match="no problems"):
        percentile_intervals(np.zeros((0, 1)))
