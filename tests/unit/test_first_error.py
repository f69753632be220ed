"""ProcessBench's figures: by hand, against a plain count at every threshold, and its fitted threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.first_error import (
    accuracy,
    first_bad,
    first_below,
    first_errors,
    fit_threshold,
    guessed,
    position_guess,
    resampled_accuracy,
    resampled_thresholds,
    sweep,
)

Row = tuple[list[float | None], list[float]]


@st.composite
def labelled(draw: st.DrawFn) -> Row:
    """A row labelled as ProcessBench labels: right up to the first error, unknown after it."""
    scores = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.999, 1.0]), min_size=1, max_size=5))
    bad = draw(st.integers(0, len(scores)))
    labels: list[float | None] = [1.0] * bad
    if bad < len(scores):
        labels += [0.0, *[None] * (len(scores) - bad - 1)]
    return labels, scores


def plainly(rows: list[Row], threshold: float) -> tuple[float | None, float | None, float | None]:
    """The definition, a row at a time."""
    error, clean = [], []
    for labels, scores in rows:
        said = next((at for at, score in enumerate(scores) if score < threshold), -1)
        true = labels.index(0.0) if 0.0 in labels else -1
        (clean if true == -1 else error).append(said == true)
    acc_error = sum(error) / len(error) if error else None
    acc_clean = sum(clean) / len(clean) if clean else None
    if acc_error is None or acc_clean is None:
        return None, acc_error, acc_clean
    if acc_error + acc_clean == 0:
        return 0.0, acc_error, acc_clean
    return 2 * acc_error * acc_clean / (acc_error + acc_clean), acc_error, acc_clean


def read(rows: list[Row]) -> tuple[list[list[float | None]], list[list[float]], list[int]]:
    return [each[0] for each in rows], [each[1] for each in rows], list(range(len(rows)))


def test_by_hand() -> None:
    rows: list[Row] = [
        ([1.0, 0.0, None], [0.9, 0.4, 0.1]),  # named at .5
        ([1.0, 1.0, 0.0], [0.45, 0.9, 0.1]),  # named too early at .5, rightly at .3
        ([1.0, 1.0], [0.6, 0.55]),  # clean
        ([1.0], [0.35]),  # called wrong at .5
    ]
    found = first_errors(*read(rows))
    assert found.bad.tolist() == [1, 2, 2, 1]
    at_half = accuracy(found.right_at(0.5), found.erroneous)
    assert at_half == (0.5, 0.5, 0.5)
    at_third = accuracy(found.right_at(0.3), found.erroneous)
    assert at_third == pytest.approx((2 * 0.5 / 1.5, 0.5, 1.0))
    # Between .4 and .45 both errors are named, and one clean row is lost; below .35 one error is late.
    assert accuracy(found.right_at(0.42), found.erroneous) == pytest.approx((2 * 0.5 / 1.5, 1.0, 0.5))
    assert fit_threshold(found) == pytest.approx(0.425)


@given(st.lists(labelled(), min_size=1, max_size=12))
def test_the_sweep_is_the_definition_at_every_threshold(rows: list[Row]) -> None:
    found = first_errors(*read(rows))
    points = sweep(found)
    thresholds = [point.threshold for point in points]
    assert thresholds == sorted(thresholds)
    for threshold, figures in points:
        assert figures == pytest.approx(plainly(rows, threshold))
    # Nothing is left out between the points: any threshold has the figures of one of them.
    for threshold in np.linspace(0, 1, 41):
        expected = plainly(rows, float(threshold))
        assert any(figures == pytest.approx(expected) for _, figures in points)


@given(st.lists(labelled(), min_size=2, max_size=12))
def test_the_fitted_threshold_has_the_highest_f1(rows: list[Row]) -> None:
    fitted = fit_threshold(first_errors(*read(rows)))
    values = [plainly(rows, float(each))[0] for each in np.linspace(0, 1.0001, 301)]
    if fitted is None:
        assert all(value is None for value in values)
        return
    best = plainly(rows, fitted)[0]
    assert best is not None
    assert all(value is not None and value <= best + 1e-12 for value in values)


@given(st.lists(labelled(), min_size=1, max_size=10), st.integers(0, 10_000))
def test_a_resample_is_the_rows_so_many_times(rows: list[Row], seed: int) -> None:
    labels, scores, problems = read(rows)
    found = first_errors(labels, scores, problems)
    counts = np.random.default_rng(seed).integers(0, 3, size=len(rows))
    repeated = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    drawn = resampled_accuracy(found.right_at(0.5), found, counts[None].astype(float))
    for value, expected in zip(drawn, plainly(repeated, 0.5), strict=True):
        assert (None if np.isnan(value[0]) else value[0]) == pytest.approx(expected)
    threshold = resampled_thresholds(found, counts[None].astype(float))[0]
    again = fit_threshold(first_errors(*read(repeated))) if repeated else None
    if again is None:
        assert np.isnan(threshold)
    else:
        assert plainly(repeated, float(threshold))[0] == pytest.approx(plainly(repeated, again)[0])


@given(st.lists(labelled(), min_size=1, max_size=10))
def test_no_index_has_a_higher_f1_than_the_baseline(rows: list[Row]) -> None:
    found = first_errors(*read(rows))
    guess = position_guess(found)
    values = [accuracy(guessed(found, index), found.erroneous).f1 for index in range(8)]
    if guess is None:
        assert values == [None] * 8
    else:
        best = accuracy(guessed(found, guess), found.erroneous).f1
        assert best == max(value for value in values if value is not None)


def test_a_first_error_behind_an_unlabelled_step_is_not_known() -> None:
    found = first_errors([[None, 0.0], [1.0, None], [1.0, 0.0]], [[0.9, 0.1]] * 3, [0, 1, 2])
    assert found.problem.tolist() == [2]
    assert first_bad([0.4]) == 0
    assert first_bad([0.5]) == 1
    assert first_below([], 0.5) == 0


def test_without_one_kind_of_row_there_is_no_f1() -> None:
    clean = first_errors([[1.0]], [[0.9]], [0])
    assert accuracy(clean.right_at(0.5), clean.erroneous) == (None, None, 1.0)
    assert fit_threshold(clean) is None
    assert position_guess(clean) is None
    nothing = first_errors([], [], [])
    assert accuracy(nothing.right_at(0.5), nothing.erroneous) == (None, None, None)
    assert [point.accuracy.f1 for point in sweep(nothing)] == [None]
