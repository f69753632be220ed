"""Calibration: it finds what was done to the scores, never harms its own split, and keeps every order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from eval.calibration import (
    Calibrations,
    Isotonic,
    Temperature,
    fit,
    fit_isotonic,
    fit_temperature,
    read_calibration,
)
from eval.reliability import binary_nll
from shepherd.errors import ShepherdError

SCORES = arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 1, allow_subnormal=False))


@given(SCORES, st.integers(0, 10_000))
def test_it_never_raises_the_loss_of_its_own_split(score: np.ndarray, seed: int) -> None:
    good = np.random.default_rng(seed).random(len(score)) < 0.5
    before = binary_nll(score, good)
    for fitted in (fit_temperature(score, good), fit_isotonic(score, good)):
        assert binary_nll(fitted(score), good) <= before


@given(SCORES, SCORES, st.integers(0, 10_000))
def test_it_turns_no_order_round_and_stays_in_range(score: np.ndarray, other: np.ndarray, seed: int) -> None:
    good = np.random.default_rng(seed).random(len(score)) < 0.5
    asked = np.sort(other)
    for fitted in (fit_temperature(score, good), fit_isotonic(score, good)):
        found = fitted(asked)
        assert found.shape == asked.shape
        assert ((found >= 0) & (found <= 1)).all()
        assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("true", [0.5, 2.0, 3.0])
def test_a_temperature_is_found_again(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(1, 2, size=40_000)
    good = rng.random(len(logits)) < expit(logits)
    fitted = fit_temperature(expit(logits * true), good)
    assert fitted.temperature == pytest.approx(true, rel=0.05)


def test_the_temperature_is_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(1)
    score = rng.beta(5, 1, size=500)
    good = rng.random(500) < 0.7
    best = min(binary_nll(Temperature(float(t))(score), good) for t in np.geomspace(0.02, 50, 400))
    assert binary_nll(fit_temperature(score, good)(score), good) <= best + 1e-6


def test_isotonic_by_hand() -> None:
    """Pool adjacent violators: .2 and .4 are out of order and share one half; the ends stay off 0 and 1."""
    score = np.array([0.1, 0.1, 0.2, 0.4, 0.8, 0.8])
    good = np.array([False, False, True, False, True, True])
    found = fit_isotonic(score, good)(score)
    assert found == pytest.approx([1 / 8, 1 / 8, 1 / 2, 1 / 2, 7 / 8, 7 / 8])


def test_where_nothing_is_better_the_identity_stays() -> None:
    score, good = np.array([1e-7, 1 - 1e-7] * 3), np.array([False, True] * 3)
    assert fit_isotonic(score, good) == Isotonic()
    assert np.array_equal(Isotonic()(score), score)
    assert np.array_equal(Temperature()(score), score)
    assert fit(score, np.ones(6, dtype=bool), {}) is None


def test_the_loss_of_another_split_is_finite() -> None:
    score, good = np.array([0.0, 0.1, 0.9, 1.0]), np.array([False, False, True, True])
    fitted = fit_isotonic(score, good)
    assert np.isfinite(binary_nll(fitted(score), ~good))
    assert np.isfinite(binary_nll(fit_temperature(score, good)(score), ~good))


def test_min_and_last_rank_as_before_under_a_temperature() -> None:
    rng = np.random.default_rng(2)
    solutions = rng.random((50, 4))
    calibrated = Temperature(3.7)(solutions)
    assert calibrated == pytest.approx(expit(logit(solutions) / 3.7))
    for reduce in (lambda each: each.min(axis=1), lambda each: each[:, -1]):
        assert np.argsort(reduce(calibrated)).tolist() == np.argsort(reduce(solutions)).tolist()
    # A product is another order: this is where calibration can matter.
    assert np.argsort(calibrated.prod(axis=1)).tolist() != np.argsort(solutions.prod(axis=1)).tolist()


def test_it_is_kept_and_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    score = rng.random(200)
    fitted = fit(score, rng.random(200) < score, {"data": "rows.jsonl", "steps": 200})
    assert fitted is not None
    text = json.dumps({"calibration": fitted.to_json()}, allow_nan=False)
    for place in ("verifier.json", "calibration.json", "verifier/verifier.json"):
        folder = tmp_path / place.replace("/", "-")
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_text(text)
        assert read_calibration(folder) == fitted
        assert read_calibration(folder / place) == fitted
    assert fitted.of("none")(score).tolist() == score.tolist()
    assert fitted.of("isotonic") is fitted.isotonic
    assert fitted.of("temperature") is fitted.temperature


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {"temperature": 1.0},
        {"temperature": 0, "isotonic": {"x": [0], "y": [0]}},
        {"temperature": 1, "isotonic": {"x": [0, 1], "y": [1, 0]}},
        {"temperature": 1, "isotonic": {"x": [0, 0], "y": [0, 1]}},
        {"temperature": 1, "isotonic": {"x": [0, 1], "y": [0, 2]}},
        {"temperature": 1, "isotonic": {"x": [0, 1], "y": [0]}},
        {"temperature": 1, "isotonic": {"x": [], "y": []}},
        {"temperature": "hot", "isotonic": {"x": [0], "y": [0]}},
    ],
)
def test_a_broken_one_is_told_with_its_file(tmp_path: Path, broken: object) -> None:
    (tmp_path / "calibration.json").write_text(json.dumps({"calibration": broken}))
    with pytest.raises(ShepherdError, match=r"calibration\.json: its calibration cannot be read"):
        read_calibration(tmp_path)


def test_none_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "verifier.json").write_text('{"kind": "shepherd-verifier", "calibration": null}')
    with pytest.raises(ShepherdError, match="--save-calibration"):
        read_calibration(tmp_path)
    with pytest.raises(ShepherdError, match="holds no calibration"):
        read_calibration(tmp_path / "nowhere")


def test_an_unknown_shape_of_scores_keeps_it() -> None:
    fitted = Calibrations(Temperature(2.0), Isotonic((0.5,), (0.4,)), {})
    for each in (fitted.temperature, fitted.isotonic):
        assert each(np.zeros((2, 0))).shape == (2, 0)
        assert each(np.full((2, 3), 0.5)).shape == (2, 3)
