"""Names and numbers that configs share with the ruler; no numpy, so that a command's help stays light."""

from __future__ import annotations

from typing import Literal, get_args

CalibrationKind = Literal["none", "temperature", "isotonic"]
CALIBRATION_KINDS: tuple[CalibrationKind, ...] = get_args(CalibrationKind)

TEMPERATURES = (0.01, 100.0)
"""The least and the highest temperature that is tried."""

BINS = 15
"""Bins of the reliability diagram and of the calibration error."""
