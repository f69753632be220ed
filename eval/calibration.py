"""Calibration of step scores: a map that is fitted on one split and used on others.

``temperature`` divides the difference of the two label logits by one number (arXiv 1706.04599, section 4.2;
for two classes ``logit(P) / T``), fitted by negative log-likelihood. It keeps every order, so min and last
rank solutions as before, and it does not move 0.5; it matters where scores are added, multiplied or held
against another threshold. ``isotonic`` is any rising function (scikit-learn's ``IsotonicRegression``); it
never turns an order round, but it makes ties.

Neither raises the negative log-likelihood of the split it was fitted on: where the fitted map would (all of
its scores right and sure, say), the identity is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.curves import BoolArray
from eval.kinds import TEMPERATURES, CalibrationKind
from eval.reliability import CLIP, binary_nll
from eval.scores import Calibration, FloatArray
from shepherd.errors import ShepherdError
from shepherd.files import read_json

KEY = "calibration"
"""Where ``verifier.json`` keeps it; it decides no score, so the verifier's id leaves it out."""

FILE = "calibration.json"
"""What a run of `shepherd eval-steps` writes."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """``sigmoid(logit(P) / temperature)``.

    Example:
        >>> Temperature(2.0)(np.array([0.0, 0.5, 0.8, 1.0])).round(4).tolist()
        [0.0, 0.5, 0.6667, 1.0]
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"a temperature is above 0 and finite, not {self.temperature!r}")

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Calibrated scores; 0 and 1 stay what they are."""
        from scipy.special import expit, logit  # takes a while to import

        if self.temperature == 1:
            return np.array(scores, dtype=np.float64)
        found: FloatArray = expit(logit(np.asarray(scores, dtype=np.float64)) / self.temperature)
        return found


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Straight lines between points ``(x, y)``, flat outside; both rise. The default is the identity.

    Example:
        >>> Isotonic((0.2, 0.6), (0.1, 0.9))(np.array([0.0, 0.4, 1.0])).round(4).tolist()
        [0.1, 0.5, 0.9]
    """

    x: tuple[float, ...] = (0.0, 1.0)
    y: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        in_range = all(0 <= each <= 1 for each in (*self.x, *self.y))
        x, y = np.diff(self.x), np.diff(self.y)
        if not self.x or len(self.x) != len(self.y) or not in_range or (x <= 0).any() or (y < 0).any():
            raise ValueError("x and y are as many, in [0, 1], and rise")

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Calibrated scores."""
        found: FloatArray = np.interp(scores, self.x, self.y)
        return found


@dataclass(frozen=True, slots=True)
class Calibrations:
    """Both maps, and what they were fitted on.

    Attributes:
        temperature: one parameter.
        isotonic: as many as the data holds.
        fitted_on: ``data``, ``steps``, ``rows``, ``problems``, for whoever reads the file.
    """

    temperature: Temperature
    isotonic: Isotonic
    fitted_on: Mapping[str, Any]

    def of(self, kind: CalibrationKind) -> Calibration:
        """The map of a kind; the identity for ``none``."""
        if kind == "temperature":
            return self.temperature
        return self.isotonic if kind == "isotonic" else Temperature()

    def to_json(self) -> dict[str, Any]:
        """As ``verifier.json`` keeps it."""
        points = {"x": list(self.isotonic.x), "y": list(self.isotonic.y)}
        return {
            "temperature": self.temperature.temperature,
            "isotonic": points,
            "fitted_on": dict(self.fitted_on),
        }

    @classmethod
    def from_json(cls, data: object, where: str) -> Calibrations:
        """Read what `to_json` gave; ``where`` is for the error."""
        try:
            if not isinstance(data, Mapping):
                raise TypeError(f"found {data!r:.40}")
            points = data["isotonic"]
            return cls(
                Temperature(float(data["temperature"])),
                Isotonic(tuple(map(float, points["x"])), tuple(map(float, points["y"]))),
                dict(data.get("fitted_on") or {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ShepherdError(
                f"{where}: its calibration cannot be read ({error}); fit it again with shepherd eval-steps"
            ) from error


def fit(score: FloatArray, good: BoolArray, fitted_on: Mapping[str, Any]) -> Calibrations | None:
    """Fit both maps; None unless there are good and bad steps.

    Args:
        score: P(step is correct); shape ``(steps,)``.
        good: whether the step is right; shape ``(steps,)``.
        fitted_on: what is said of the data.
    """
    if good.all() or not good.any():
        return None
    return Calibrations(fit_temperature(score, good), fit_isotonic(score, good), fitted_on)


def fit_temperature(score: FloatArray, good: BoolArray) -> Temperature:
    """The temperature of least negative log-likelihood on these steps; 1 where none is better."""
    from scipy.optimize import minimize_scalar

    clipped = np.clip(score, CLIP, 1 - CLIP)
    sign = np.where(good, 1.0, -1.0) * (np.log(clipped) - np.log1p(-clipped))
    found = minimize_scalar(
        lambda log_t: float(np.logaddexp(0, -sign / np.exp(log_t)).mean()),
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    fitted = Temperature(float(np.exp(found.x)))
    return fitted if binary_nll(fitted(score), good) < binary_nll(score, good) else Temperature()


def fit_isotonic(score: FloatArray, good: BoolArray) -> Isotonic:
    """The rising map of least negative log-likelihood on these steps, kept off 0 and 1.

    No value is nearer to 0 or 1 than ``1 / (steps + 2)``, the rate that a run of ``steps`` steps without an
    exception supports (Laplace's rule): a step of another split then costs a finite loss.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(score) + 2)
    regression = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    regression.fit(score, good.astype(np.float64))
    x, first = np.unique(regression.X_thresholds_, return_index=True)
    fitted = Isotonic(
        tuple(x.tolist()), tuple(np.maximum.accumulate(regression.y_thresholds_[first]).tolist())
    )
    return fitted if binary_nll(fitted(score), good) < binary_nll(score, good) else Isotonic()


def read_calibration(path: Path) -> Calibrations:
    """Read the calibrations of a verifier or of a run.

    Args:
        path: a folder with ``verifier.json`` or ``calibration.json``, or such a file.

    Raises:
        ShepherdError: where there is none, with the command that makes one.
    """
    places = (
        [path] if path.is_file() else [path / FILE, path / "verifier.json", path / "verifier/verifier.json"]
    )
    file = next((each for each in places if each.is_file()), None)
    found = None if file is None else read_json(file).get(KEY)
    if found is None:
        raise ShepherdError(
            f"{path}: holds no calibration; fit one with shepherd eval-steps ROWS --verifier {path} "
            "--save-calibration, or name the run that has one with --set calibration_from=RUN"
        )
    return Calibrations.from_json(found, str(file))
