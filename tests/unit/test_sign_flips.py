"""The sign-flip test against enumeration and against scipy's permutation test."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.sign_flips import FLIPS, sign_flip_p


def enumerated(values: list[float]) -> float:
    sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in product((-1, 1), repeat=len(values))]  # fmt: skip
    return float(np.mean(np.array(sums) >= abs(sum(values)) - 1e-9))


@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5, 1 / 3, -2 / 3, 0.2]), min_size=1, max_size=9))
def test_counted_flips_are_all_flips(values: list[float]) -> None:
    assert sign_flip_p(np.array(values)[:, None])[0] == pytest.approx(enumerated(values), abs=1e-12)


def test_it_is_scipys_permutation_test() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, size=11)
    scipys = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_p(values[:, None])[0] == pytest.approx(scipys.pvalue, abs=1e-12)


def test_differences_of_one_size_are_a_binomial_test_whatever_their_number() -> None:
    values = np.repeat([1.0, -1.0, 0.0], [300, 250, 700])[:, None]
    expected = stats.binomtest(300, 550).pvalue
    assert sign_flip_p(values)[0] == pytest.approx(expected, rel=1e-9)


def test_drawn_flips_agree_with_the_normal_limit_and_are_never_zero() -> None:
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.normal(0.06, 1, 900), rng.normal(1, 0.1, 900)])
    found = sign_flip_p(values, seed=1)
    z = values[:, 0].sum() / np.sqrt((values[:, 0] ** 2).sum())
    expected = 2 * stats.norm.sf(abs(z))
    assert found[0] == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / FLIPS))
    assert found[1] == 1 / (FLIPS + 1)
    assert sign_flip_p(values, seed=1).tolist() == found.tolist()
    assert sign_flip_p(values, seed=2)[0] != found[0]


def test_a_columns_p_value_does_not_hang_on_the_columns_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.05, 1, size=(300, 3))
    together = sign_flip_p(values, 500)
    assert [sign_flip_p(values[:, [each]], 500)[0] for each in range(3)] == together.tolist()
    monkeypatch.setattr("eval.sign_flips._CELLS", 300 * 7)
    assert sign_flip_p(values, 500).tolist() == together.tolist()


def test_the_sign_of_the_whole_column_does_not_matter() -> None:
    values = np.repeat([1.0, -1.0, 0.5], [7, 2, 3])[:, None]
    assert sign_flip_p(values)[0] == sign_flip_p(-values)[0] == sign_flip_p(values + 1e-13)[0]


def test_rounding_is_no_difference() -> None:
    values = np.column_stack([np.zeros(30), np.full(30, 3e-14)])
    assert sign_flip_p(values).tolist() == [1.0, 1.0]
