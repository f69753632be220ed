"""Everything `shepherd eval-steps` says of step scores: what is fitted on one split is reported on another.

The threshold of the first error and both calibrations are fitted on the fit rows; every figure is of the
report rows, and no problem has rows in both. The baseline knows a step's position alone. For figures of order
and of the first error it is chosen on the very rows that it is judged by (see `eval.steps`), which flatters
it; for Brier score and calibration error it is learnt on the fit rows, since on its own rows its calibration
error is nothing by construction.

Left out: the threshold's and the calibration's own uncertainty in the intervals of the figures that use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.calibration import Calibrations, fit
from eval.diagnostics import Diagnostic, diagnose
from eval.first_error import (
    THRESHOLD,
    Accuracy,
    FirstErrors,
    SweepPoint,
    accuracy,
    fit_threshold,
    guessed,
    position_guess,
    resampled_accuracy,
    resampled_thresholds,
    sweep,
)
from eval.judged import Scored, first_errors_of, steps_of
from eval.kinds import BINS
from eval.reliability import (
    Bin,
    Interval,
    ScoredSteps,
    reliability,
    reliability_bins,
    reliability_intervals,
)
from eval.resampling import interval, problem_weights
from eval.scores import Aggregation, FloatArray
from eval.steps import METRICS, Metric, position_rates, step_metrics

SWEEP_POINTS = 201
"""A kept sweep is thinned to so many points: thresholds between two of them hardly differ."""

FIGURES = ("f1", "acc_error", "acc_clean", "threshold", "auc", "ap_bad", "balanced_accuracy", "brier", "ece")
"""The headline, in the order of the table."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What `evaluate_steps` found.

    Attributes:
        metrics: each figure with its interval and baseline, by name.
        counts: of rows, steps and problems that are reported on.
        sweep: first-error figures at every threshold, on the report rows.
        fit_sweep: the same on the fit rows; empty without them.
        reliability: bins of the raw scores on the report rows.
        calibrated: bins of the calibrated scores, by the kind of calibration.
        calibrations: both maps; None where the fit rows have not both classes.
        calibration: figures before and after, as JSON; None with `calibrations`.
        diagnostics: a line each.
        split: sizes of both sides, and whether a threshold could be fitted.
    """

    metrics: Mapping[str, Metric]
    counts: Mapping[str, int]
    sweep: Sequence[SweepPoint]
    fit_sweep: Sequence[SweepPoint]
    reliability: Sequence[Bin]
    calibrated: Mapping[str, Sequence[Bin]]
    calibrations: Calibrations | None
    calibration: Mapping[str, Any] | None
    diagnostics: Sequence[Diagnostic]
    split: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As ``results.json`` has it; docs/eval-steps.md says what each key means."""
        return {
            **{name: _metric(each) for name, each in self.metrics.items()},
            "counts": dict(self.counts),
            "sweep": [_sweep_point(each) for each in _thinned(self.sweep)],
            "fit_sweep": [_sweep_point(each) for each in _thinned(self.fit_sweep)],
            "reliability": [_bin(each) for each in self.reliability],
            "reliability_calibrated": {
                name: [_bin(each) for each in bins] for name, bins in self.calibrated.items()
            },
            "calibration": None if self.calibration is None else dict(self.calibration),
            "diagnostics": [each.to_json() for each in self.diagnostics],
            "split": dict(self.split),
        }


def evaluate_steps(
    report: Scored,
    fit_on: Scored,
    *,
    how: Aggregation = "min",
    threshold: float | None = None,
    bins: int = BINS,
    bootstrap: int = 1000,
    seed: int = 0,
    trained: Mapping[str, float] | None = None,
    fitted_on: Mapping[str, Any] | None = None,
) -> StepReport:
    """Measure step scores on the report rows, with threshold and calibrations from the fit rows.

    Args:
        report: the rows that every figure is of.
        fit_on: rows of other problems; may be empty, then the threshold is 0.5 and nothing is calibrated.
        how: from step scores to the solution score of ``auc_within_question``.
        threshold: of the first error; None fits it.
        bins: of the calibration error.
        bootstrap: resamples of the problems.
        seed: of the resampling.
        trained: quantiles of the training texts' lengths; see `eval.diagnostics.length_shift`.
        fitted_on: what the calibration says of the data that it was fitted on.
    """
    rows = [each.row for each in report.rows]
    right = [each.right for each in report.rows]
    verdicts = right if any(each is not None for each in right) else None
    plain = step_metrics(rows, report.scores, correct=verdicts, how=how, bootstrap=bootstrap, seed=seed)
    first, fit_first = first_errors_of(report), first_errors_of(fit_on)
    steps, fit_steps = steps_of(report), steps_of(fit_on)
    raw = _measured(steps, bins, bootstrap, seed)
    fitted = fit_threshold(fit_first) if threshold is None else None
    if threshold is None:
        threshold = THRESHOLD if fitted is None else fitted
    metrics = {
        **_first_error_metrics(first, threshold, bootstrap, seed),
        "threshold": Metric(threshold, None, _threshold_interval(fit_first, fitted, bootstrap, seed)),
        **_reliability_metrics(raw, steps, fit_steps, bins),
        **{name: getattr(plain, name) for name in METRICS},
    }
    calibrations = fit(fit_steps.score, fit_steps.good, _fitted_on(fit_on, fit_steps, fitted_on))
    calibrated = {} if calibrations is None else _apply(calibrations, steps)
    return StepReport(
        metrics={name: metrics[name] for name in dict.fromkeys((*FIGURES, *METRICS))},
        counts={**plain.counts, **_counts(report, first)},
        sweep=sweep(first),
        fit_sweep=sweep(fit_first) if len(fit_on.rows) else [],
        reliability=reliability_bins(steps, bins),
        calibrated={name: reliability_bins(each, bins) for name, each in calibrated.items()},
        calibrations=calibrations,
        calibration=None
        if calibrations is None
        else {
            **calibrations.to_json(),
            "before": raw,
            "after": {name: _measured(each, bins, bootstrap, seed) for name, each in calibrated.items()},
        },
        diagnostics=diagnose(report, threshold, trained),
        split={
            "fit": {"problems": fit_steps.problems, "rows": len(fit_on.rows), "steps": len(fit_steps.score)},
            "report": {"problems": steps.problems, "rows": len(rows), "steps": len(steps.score)},
            "threshold_fitted": fitted is not None,
        },
    )


def _first_error_metrics(rows: FirstErrors, threshold: float, bootstrap: int, seed: int) -> dict[str, Metric]:
    right = rows.right_at(threshold)
    value = accuracy(right, rows.erroneous)
    guess = position_guess(rows)
    baseline = Accuracy(None, None, None) if guess is None else accuracy(guessed(rows, guess), rows.erroneous)
    bounds = _resampled(
        rows, bootstrap, seed, lambda weights: np.stack(resampled_accuracy(right, rows, weights), axis=1)
    )
    return {
        name: Metric(
            getattr(value, name),
            getattr(baseline, name),
            None if bounds is None else interval(getattr(value, name), bounds[:, column]),
        )
        for column, name in enumerate(Accuracy._fields)
    }


def _threshold_interval(rows: FirstErrors, fitted: float | None, bootstrap: int, seed: int) -> Interval:
    if fitted is None:
        return None
    drawn = _resampled(rows, bootstrap, seed, lambda weights: resampled_thresholds(rows, weights)[:, None])
    return None if drawn is None else interval(fitted, drawn[:, 0])


def _resampled(
    rows: FirstErrors, bootstrap: int, seed: int, of: Callable[[FloatArray], FloatArray]
) -> FloatArray | None:
    if not bootstrap or not len(rows.problem):
        return None
    problems = int(rows.problem.max()) + 1
    return np.concatenate([of(weights) for weights in problem_weights(problems, bootstrap, seed)])


def _reliability_metrics(
    measured: Mapping[str, Mapping[str, Any]], steps: ScoredSteps, fit_steps: ScoredSteps, bins: int
) -> dict[str, Metric]:
    """Brier score and calibration error, beside those of a forecaster who knows the position alone."""
    baseline = None
    if len(fit_steps.good) and len(steps.good):
        rates = position_rates(fit_steps.good, fit_steps.index, steps.index)
        baseline = reliability(_with(steps, rates), bins)
    return {
        name: Metric(
            measured[name]["value"],
            None if baseline is None else getattr(baseline, name),
            None if measured[name]["ci95"] is None else tuple(measured[name]["ci95"]),
        )
        for name in ("brier", "ece")
    }


def _with(steps: ScoredSteps, score: FloatArray) -> ScoredSteps:
    return ScoredSteps(score, steps.good, steps.index, steps.problem, steps.problems)


def _apply(calibrations: Calibrations, steps: ScoredSteps) -> dict[str, ScoredSteps]:
    return {
        "temperature": _with(steps, calibrations.temperature(steps.score)),
        "isotonic": _with(steps, calibrations.isotonic(steps.score)),
    }


def _measured(steps: ScoredSteps, bins: int, bootstrap: int, seed: int) -> dict[str, Any]:
    value = reliability(steps, bins)
    bounds = reliability_intervals(steps, bins=bins, resamples=bootstrap, seed=seed) if bootstrap else {}
    return {name: {"value": getattr(value, name), "ci95": _pair(bounds.get(name))} for name in value._fields}


def _fitted_on(fit_on: Scored, steps: ScoredSteps, more: Mapping[str, Any] | None) -> dict[str, Any]:
    sizes = {"problems": steps.problems, "rows": len(fit_on.rows), "steps": len(steps.score)}
    return {**(more or {}), **sizes}


def _counts(scored: Scored, first: FirstErrors) -> dict[str, int]:
    right = [each.right for each in scored.rows]
    return {
        "rows_erroneous": int(first.erroneous.sum()),
        "rows_clean": int((~first.erroneous).sum()),
        "answers_right": sum(each is True for each in right),
        "answers_wrong": sum(each is False for each in right),
        "steps_scored_0": sum(value == 0 for each in scored.scores for value in each),
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {"value": metric.value, "ci95": _pair(metric.ci95), "baseline": metric.baseline}


def _pair(bounds: Interval) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _bin(found: Bin) -> dict[str, Any]:
    return {"mean_score": found.mean_score, "share_good": found.share_good, "count": found.steps}


def _sweep_point(point: SweepPoint) -> dict[str, Any]:
    return {"threshold": point.threshold, **point.accuracy._asdict()}


def _thinned(points: Sequence[SweepPoint]) -> list[SweepPoint]:
    """At most `SWEEP_POINTS` of them, both ends among them."""
    if len(points) <= SWEEP_POINTS:
        return list(points)
    return [points[each] for each in np.linspace(0, len(points) - 1, SWEEP_POINTS).round().astype(int)]
