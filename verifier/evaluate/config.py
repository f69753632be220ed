"""What `shepherd eval-steps` can be told; the defaults are those of `configs/eval_steps/embedded.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from eval.kinds import BINS
from verifier.config import ScoringConfig


class EvalStepsConfig(ScoringConfig):
    """Rows with step labels, the verifier that is judged on them, and how.

    Attributes:
        data: ``embedded`` (rows of test problems, by the embedded world's exact checker), a file of any shape
            that `verifier.evaluate.rows` reads, or a published set by name.
        fit: other rows for threshold and calibration; null takes `fit_fraction` of the problems of `data`.
        fit_fraction: share of the problems that are fitted on and not reported.
        scores: a file with a line a row, ``{"id", "step_scores"}``; no verifier is loaded.
        limit: the first so many rows of `data`, and of `fit`; null for all.
        threshold: below it a step is called wrong; null fits it. (ProcessBench took 0.5 for Math-Shepherd's
            verifier, and for others the one fitted on its GSM8K rows.)
        on_bad_row: a row whose labels do not fit its steps stops the run (``error``) or is counted
            (``skip``).
        prm800k_neutral: label of a PRM800K step that a person rated neutral.
        bins: adaptive bins of the calibration error and of the reliability diagram.
        bootstrap: resamples of the problems for the intervals.
        save_calibration: write the fitted calibrations into the verifier's verifier.json.
        seed: draws the problems to fit on, and the resamples.
    """

    data: str = Field("embedded", min_length=1)
    fit: str | None = Field(None, min_length=1)
    fit_fraction: float = Field(0.5, gt=0, lt=1)
    scores: str | None = Field(None, min_length=1)
    limit: int | None = Field(None, ge=1)
    threshold: float | None = Field(None, ge=0, le=1)
    on_bad_row: Literal["error", "skip"] = "error"
    prm800k_neutral: Literal["good", "bad", "null"] = "good"
    bins: int = Field(BINS, ge=2)
    bootstrap: int = Field(1000, ge=100)
    save_calibration: bool = False
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_a_place(self) -> EvalStepsConfig:
        if self.scores is not None and self.save_calibration:
            raise ValueError(
                "save_calibration: scores from a file have no verifier to save it in; the run's "
                "calibration.json has it"
            )
        return self
