"""A report as people read it: one table, and what it shows in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.figures import interval, percent, points
from eval.significance import NONE_SHOWN, rounded_up
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
            *_difference(report, rule),
            _auc(report["auc_within_question"].get(rule)),
        ]
        for rule, each in report["rules"].items()
    ]
    console.table(
        f"{title}: best of {n} on {problems:,} problems",
        ("rule", "accuracy %", "95%", "minus majority", "95%", "p (Holm)", "AUC within question"),
        rows,
    )
    console.stdout().print(
        f"pass@1 {percent(report['pass_at_1'])}, pass@{n} {percent(report['pass_at_n'])}; "
        "intervals: bootstrap over problems, differences paired; p: sign flips\n"
        + "\n".join([*verdicts(report), *_controls(report), _policies(report["policies"])])
    )


def sentence(report: Report, rule: str | None = None) -> str:
    """Say what a report shows of one rule against majority vote, with the verdict that the data support.

    Args:
        report: As ``results.json`` has it.
        rule: The rule; the one that the verifier was made for if None (min in a report of old).

    Example:
        >>> added = {"difference": 0.062, "ci95": [0.031, 0.093], "p_holm": 0.0004}
        >>> added["verdict"] = "better than majority"
        >>> rules = {"min": {"accuracy": 0.54, "minus_majority": added}, "majority": {"accuracy": 0.478}}
        >>> print(sentence({"n": 16, "problems": 500, "rules": rules}))
        best of 16 by min: 54.0% of 500 problems, majority vote: 47.8%; +6.2 points [+3.1, +9.3], p < 0.001:
        better than majority
    """
    rule = rule or report.get("headline", "min")
    at = f"of {report['problems']:,} problems"
    majority = percent(report["rules"]["majority"]["accuracy"])
    if rule not in report["rules"]:
        return f"majority vote over {report['n']}: {majority}% {at}; no verifier was used"
    added = _added(report, rule)
    mine = percent(report["rules"][rule]["accuracy"])
    difference = f"{points(added['difference'])} points {interval(added['ci95'], signed=True)}"
    said = f"best of {report['n']} by {rule}: {mine}% {at}, majority vote: {majority}%; {difference}"
    if "verdict" not in added:
        return said
    return f"{said}, p {p_equals(added['p_holm'])}: {added['verdict']}"


def verdicts(report: Report) -> list[str]:
    """What a report shows of every rule, a line a verdict; none for a report of old, which has no tests.

    Args:
        report: As ``results.json`` has it.

    Example:
        >>> added = {"detectable": 0.0213, "verdict": "no difference shown; …"}
        >>> verdicts({"rules": {"majority": {"minus_majority": None}, "loglik": {"minus_majority": added}}})
        ['no difference shown: loglik (2.2)',
         'in brackets: the points from which one would have been seen at this size']
    """
    groups: dict[str, list[str]] = {}
    for rule, each in report["rules"].items():
        added = each.get("minus_majority") or {}
        if "verdict" in added:
            says, _, _ = added["verdict"].partition(";")
            least = added["detectable"]
            shown = "" if says != NONE_SHOWN else " (unknown)" if least is None else f" ({rounded_up(least)})"
            groups.setdefault(says, []).append(f"{rule}{shown}")
    lines = [f"{says}: {', '.join(groups[says])}" for says in sorted(groups)]
    if NONE_SHOWN in groups:
        lines.append("in brackets: the points from which one would have been seen at this size")
    return lines


def p_value(value: float) -> str:
    """A p-value to three digits.

    Example:
        >>> p_value(0.0412), p_value(0.00004)
        ('0.041', '< 0.001')
    """
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def p_equals(value: float) -> str:
    """A p-value as it stands after the letter.

    Example:
        >>> p_equals(0.0412), p_equals(0.00004)
        ('= 0.041', '< 0.001')
    """
    return f"= {value:.3f}" if value >= 0.001 else p_value(value)


def _auc(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _added(report: Report, rule: str) -> Mapping[str, Any]:
    """What a rule adds to majority vote; a report of old has the difference and its interval alone."""
    found: Mapping[str, Any] | None = report["rules"][rule].get("minus_majority")
    return found or report["paired"][f"{rule}_minus_majority"]


def _difference(report: Report, rule: str) -> tuple[str, str, str]:
    if rule == "majority":
        return "", "", ""
    added = _added(report, rule)
    p = p_value(added["p_holm"]) if "p_holm" in added else ""
    return points(added["difference"]), interval(added["ci95"], signed=True), p


def _controls(report: Report) -> list[str]:
    """What each control verifier adds to the verifier's own rule, a line each."""
    return [
        f"{name} minus {report['headline']}: {points(each['difference'])} points "
        f"{interval(each['ci95'], signed=True)}, p {p_equals(each['p_holm'])}: {each['verdict']}"
        for name, each in report.get("minus_headline", {}).items()
    ]


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
