"""The tables of benchmarks/effect.py in Markdown, as README and docs show them."""

from __future__ import annotations

from typing import Any

from record.markdown import table

GENERATORS = ("weak", "strong")
_VARIANTS = ("seed0", "seed1", "seed2", "lora", "shuffled")


def tables(results: dict[str, Any]) -> str:
    """The results as the Markdown that stands in the README (accuracies) and in the docs (verdicts)."""
    return f"{accuracy_table(results['reports'])}\n\n{verdict_table(results['reports'])}"


ACCURACY_ROWS = (
    ("majority", "seed0", "majority"),
    ("best of 16 by min, seed 0 (packaged)", "seed0", "min"),
    ("… seed 1", "seed1", "min"),
    ("… seed 2", "seed2", "min"),
    ("… seed 0, plain LoRA instead of nf4", "lora", "min"),
    ("… shuffled training labels (control)", "shuffled", "min"),
    ("weighted vote by min, seed 0", "seed0", "weighted_min"),
    ("best of 16 by log-likelihood", "seed0", "loglik"),
    ("shortest", "seed0", "shortest"),
    ("random", "seed0", "random"),
)
"""What a row is called, and the variant and rule that it shows."""


def accuracy_table(reports: dict[str, Any]) -> str:
    """Accuracy of rules and variants, per cent, and what each adds to majority vote, both generators."""
    rows = []
    for label, variant, rule in ACCURACY_ROWS:
        cells = []
        for generator in GENERATORS:
            report = reports[f"{generator}/{variant}"]
            cells.append(_interval(report["rules"][rule], "accuracy", ".1f"))
            paired = report["paired"].get(f"{rule}_minus_majority")
            cells.append("" if paired is None else _interval(paired, "difference", "+.1f"))
        rows.append((label, *cells))
    weak, strong = (100 * reports[f"{generator}/seed0"]["pass_at_n"] for generator in GENERATORS)
    rows.append(("pass@16", f"{weak:.1f}", "", f"{strong:.1f}", ""))
    return table(("rule", "weak generator", "minus majority", "strong generator", "minus majority"), rows)


def verdict_table(reports: dict[str, Any]) -> str:
    """Step metrics, each beside its position-only baseline, and AUC within a question of best-of-n by min."""
    rows = []
    for generator in GENERATORS:
        for variant in _VARIANTS:
            report = reports[f"{generator}/{variant}"]
            steps, within = report["steps"], report["auc_within_question"]
            cells = (
                variant,
                generator,
                _beside(steps["auc"]["value"], steps["auc"]["baseline"]),
                _share(steps["auc_within_position"]["value"]),
                _beside(within["min"], within["loglik"]),
                _beside(steps["balanced_accuracy"]["value"], steps["balanced_accuracy"]["baseline"]),
                _beside(steps["first_error_accuracy"]["value"], steps["first_error_accuracy"]["baseline"]),
            )
            rows.append(cells)
    head = (
        "variant",
        "generator",
        "step AUC (position alone)",
        "within position",
        "within-question AUC of min (log-likelihood)",
        "balanced accuracy (position)",
        "first error found (position)",
    )
    return table(head, rows)


def _interval(row: dict[str, Any], key: str, form: str) -> str:
    low, high = row["ci95"]
    return f"{100 * row[key]:{form}} [{100 * low:{form}}, {100 * high:{form}}]"


def _beside(value: float, baseline: float) -> str:
    return f"{_share(value)} ({_share(baseline)})"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
