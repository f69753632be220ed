"""What the packaged verifier.json says of its training is what the training says again."""

from __future__ import annotations

import numpy as np
import pytest

from shepherd.assets import asset
from shepherd.config import load_config
from verifier import heldout, load_verifier
from verifier.batches import text_lengths
from verifier.calibrated import load_calibration
from verifier.config import TrainPrmConfig
from verifier.description import read_description
from verifier.prepare import prepare


def test_the_packaged_verifier_has_both_maps() -> None:
    scores = np.linspace(0, 1, 11)
    assert load_calibration("embedded", "none") is None
    for kind in ("temperature", "isotonic"):
        calibrate = load_calibration("embedded", kind)
        assert calibrate is not None
        found = calibrate(scores)
        assert (np.diff(found) >= 0).all()
        assert np.abs(found - scores).max() < 0.2  # its scores are nearly calibrated as they are


@pytest.mark.slow
def test_it_is_what_its_training_would_write() -> None:
    """The shipped config on the packaged rows; the scores of the packaged verifier on its held-out rows."""
    described = read_description(asset("verifier"))
    prepared = prepare(load_config(TrainPrmConfig, "train_prm", "embedded"))
    assert described.training_text == text_lengths(prepared.train)
    rows = prepared.heldout
    pairs = [(row.row.question, row.row.steps[: len(row.labels)]) for row in rows.rows]
    scores = [np.array(each, dtype=np.float32) for each in load_verifier("embedded").score_steps(pairs)]
    again = heldout.calibrate(rows, scores, "held out of embedded")
    kept = described.calibration
    assert again is not None
    assert kept is not None
    assert again["fitted_on"] == kept["fitted_on"]
    assert again["temperature"] == pytest.approx(kept["temperature"], abs=1e-3)
    for axis in ("x", "y"):
        assert again["isotonic"][axis] == pytest.approx(kept["isotonic"][axis], abs=1e-3)
