"""A report as people read it: one table, and one sentence on what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.figures import interval, percent, points
from shepherd import console

Report = Mapping[str, Any]


def print_report(report: Report, title: str) -> None:
    """Print the rules of a report at n, each with its interval and what it adds to majority vote.

    Args:
        report: As ``results.json`` has it.
        title: What was measured.
    """
    n, problems = report["n"], report["problems"]
    rows = [
        [
            rule,
            percent(each["accuracy"]),
            interval(each["ci95"]),
            *_difference(report["paired"].get(f"{rule}_minus_majority")),
            _auc(report["auc_within_question"].get(rule)),
        ]
        for rule, each in report["rules"].items()
    ]
    console.table(
        f"{title}: best of {n} on {problems:,} problems",
        ("rule", "accuracy %", "95%", "minus majority", "95%", "AUC within question"),
        rows,
    )
    console.stdout().print(
        f"pass@1 {percent(report['pass_at_1'])}, pass@{n} {percent(report['pass_at_n'])}; "
        f"intervals: bootstrap over problems, differences paired\n{_policies(report['policies'])}"
    )


def sentence(report: Report, rule: str | None = None) -> str:
    """Say what a report shows of one rule against majority vote: a gain, a loss, or nothing.

    Args:
        report: As ``results.json`` has it.
        rule: The rule; the one that the verifier was made for if None (min in a report of old).

    Example:
        >>> paired = {"min_minus_majority": {"difference": 0.062, "ci95": [0.031, 0.093]}}
        >>> rules = {"min": {"accuracy": 0.54}, "majority": {"accuracy": 0.478}}
        >>> sentence({"n": 16, "problems": 500, "rules": rules, "paired": paired})
        'best of 16 by min: 54.0% of 500 problems, majority vote: 47.8%; +6.2 points [+3.1, +9.3], a gain'
    """
    rule = rule or report.get("headline", "min")
    at = f"of {report['problems']:,} problems"
    majority = percent(report["rules"]["majority"]["accuracy"])
    if rule not in report["rules"]:
        return f"majority vote over {report['n']}: {majority}% {at}; no verifier was used"
    paired = report["paired"][f"{rule}_minus_majority"]
    low, high = paired["ci95"]
    if low > 0:
        verdict = "a gain"
    elif high < 0:
        verdict = "a loss: the vote is better than this verifier"
    else:
        verdict = "which shows no difference, as the interval holds 0"
    mine = percent(report["rules"][rule]["accuracy"])
    difference = f"{points(paired['difference'])} points {interval(paired['ci95'], signed=True)}"
    return (
        f"best of {report['n']} by {rule}: {mine}% {at}, majority vote: {majority}%; {difference}, {verdict}"
    )


def _auc(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference(paired: Mapping[str, Any] | None) -> tuple[str, str]:
    if paired is None:
        return "", ""
    return points(paired["difference"]), interval(paired["ci95"], signed=True)


def _policies(policies: Mapping[str, Any]) -> str:
    """The counts a reader should know of; nothing of those that are 0."""
    names = {
        "candidates_without_answer": "candidates without an answer",
        "problems_without_any_answer": "problems nobody answered",
        "problems_without_gold": "problems left out for want of a gold answer",
        "problems_by_math_verify": "problems graded by math-verify",
        "grader_timeouts": "answers it gave up on",
        "solutions_without_steps": "solutions without steps",
        "duplicate_texts": "repeated texts",
        "is_correct_flags": "is_correct flags in the file",
        "is_correct_disagreements": "of them differ from the grading",
    }
    shown = [f"{policies[key]:,} {text}" for key, text in names.items()
             if policies.get(key) or (key == "is_correct_disagreements" and key in policies)]  # fmt: skip
    return f"{policies['candidates']:,} candidates" + "".join(f"; {each}" for each in shown)
