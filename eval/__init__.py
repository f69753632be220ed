"""The ruler: solution scores, selection rules, exact curves, intervals, tests and step metrics; no torch.

The public names are imported on first use, so that ``import eval`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.plots import plot_curves
    from eval.report import RerankReport, evaluate
    from eval.scores import aggregate, solution_scores
    from eval.significance import compare_paired, judge
    from eval.step_report import StepReport, evaluate_steps
    from eval.steps import StepMetrics, step_metrics

__all__ = [
    "RerankReport",
    "StepMetrics",
    "StepReport",
    "aggregate",
    "compare_paired",
    "evaluate",
    "evaluate_steps",
    "judge",
    "plot_curves",
    "solution_scores",
    "step_metrics",
]

_HOMES = {
    "RerankReport": "eval.report",
    "StepMetrics": "eval.steps",
    "StepReport": "eval.step_report",
    "aggregate": "eval.scores",
    "compare_paired": "eval.significance",
    "evaluate": "eval.report",
    "evaluate_steps": "eval.step_report",
    "judge": "eval.significance",
    "plot_curves": "eval.plots",
    "solution_scores": "eval.scores",
    "step_metrics": "eval.steps",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
