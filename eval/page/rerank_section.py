"""The section of a `shepherd rerank` run: headline table, curves, what had to be decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from eval.figures import interval, percent, points
from eval.page.blocks import Block, Line, Lines, Mark, Picture, Table, mark_of

Report = Mapping[str, Any]

SHOWN_FIRST = ("pass_at_n", "majority", "random")
"""Lines of the page's curves that are shown at first, beside the headline rule and its weighted vote."""

_POLICIES = {
    "candidates_without_answer": "candidates without an answer: they rank below all that have one",
    "problems_without_any_answer": "problems that nobody answered: they count as wrong",
    "problems_without_gold": "problems left out for want of a gold answer",
    "problems_by_math_verify": "problems graded by math-verify",
    "grader_timeouts": "answers that math-verify gave up on",
    "solutions_without_steps": "solutions without steps: they score 0",
    "duplicate_texts": "repeated texts",
    "is_correct_flags": "is_correct flags in the file",
    "is_correct_disagreements": "of them differ from the grading",
}


def headline_of(report: Report) -> str:
    """The rule that the verifier was made for (min in a report of old)."""
    return str(report.get("headline", "min"))


def verdicts(report: Report) -> list[Line]:
    """What the run shows, in sentences: of the headline rule first, then of its weighted vote."""
    headline = headline_of(report)
    rules = report["rules"]
    lines = []
    for rule in (headline, f"weighted_{headline}"):
        if rule not in rules:
            continue
        paired = minus_majority(report, rule)
        apart = f"{points(paired['difference'])} points {interval(paired['ci95'], True)}" if paired else ""
        found = _of_rule(report, rule, "verdict")
        said = f"{found} ({apart})" if found else f"{apart} against majority (an older run: no verdict in it)"
        lines.append(Line(_mark(report, rule), f"{name_of(rule, report)}: {said}"))
    if not lines and "majority" in rules:
        accuracy = rules["majority"]
        lines.append(
            Line(
                "note",
                f"Majority vote over {report['n']}: {percent(accuracy['accuracy'])}% "
                f"{interval(accuracy['ci95'])}; no verifier was used.",
            )
        )
    return lines


def name_of(rule: str, report: Report) -> str:
    """A rule in words.

    Example:
        >>> name_of("weighted_min", {"n": 16}), name_of("min", {"n": 16}), name_of("majority", {"n": 16})
        ('weighted vote by min', 'best of 16 by min', 'majority vote')
    """
    n = report["n"]
    if rule.startswith("weighted_"):
        return f"weighted vote by {rule.removeprefix('weighted_').replace('_', ' ')}"
    fixed = {
        "majority": "majority vote",
        "random": "any candidate with an answer (random)",
        "shortest": "the shortest candidate",
        "loglik": f"best of {n} by log-likelihood",
        "pass_at_n": "pass@n (ceiling)",
    }
    return fixed.get(rule, f"best of {n} by {rule.replace('_', ' ')}")


def facts(report: Report) -> str:
    """How much was measured, in one line."""
    return (
        f"{report['problems']:,} problems, {report['n']} candidates each; "
        f"pass@1 {percent(report['pass_at_1'])}, pass@{report['n']} {percent(report['pass_at_n'])}"
    )


def blocks(report: Report, title: str, key: str) -> Iterator[Block]:
    """Tables and pictures of the run."""
    yield headline_table(report)
    said = [
        Line(_mark(report, rule), f"{name_of(rule, report)}: {found}")
        for rule in report["rules"]
        if (found := _of_rule(report, rule, "verdict"))
    ]
    if said:
        yield Lines("What each rule shows against majority", said, folded=True)
    yield curves(report, title, f"{key}-curves")
    policies = report.get("policies", {})
    decided = [
        Line("note", f"{policies[name]:,} {text}")
        for name, text in _POLICIES.items()
        if policies.get(name) or (name == "is_correct_disagreements" and name in policies)
    ]
    if decided:
        yield Lines("What was decided by a stated rule", decided, folded=True)


def headline_table(report: Report) -> Table:
    """Every rule at n: accuracy, what it adds to majority, the tests, and the within-question AUC."""
    rules: Mapping[str, Any] = report["rules"]
    paired = {rule: minus_majority(report, rule) for rule in rules}
    more = {
        "p": {rule: _p((each or {}).get("p")) for rule, each in paired.items()},
        "p (Holm)": {rule: _p(_of_rule(report, rule, "p_holm")) for rule in rules},
        "differ": {rule: _count((each or {}).get("problems_differing")) for rule, each in paired.items()},
        "AUC within question": {
            rule: _auc(report.get("auc_within_question", {}).get(rule)) for rule in rules
        },
    }
    known = {name: cells for name, cells in more.items() if any(cells.values())}
    rows = []
    for rule, each in rules.items():
        difference = paired[rule]
        apart = ["", ""]
        if difference:
            apart = [points(difference["difference"]), interval(difference["ci95"], True)]
        own = [name_of(rule, report), percent(each["accuracy"]), interval(each["ci95"])]
        rows.append([*own, *apart, *(cells[rule] for cells in known.values())])
    return Table(
        f"Accuracy of every rule at n = {report['n']} on {report['problems']:,} problems; "
        "intervals: 95% bootstrap over problems, differences paired on the same problems"
        + ("; differ: problems on which rule and majority do" if "differ" in known else ""),
        ["rule", "accuracy %", "95%", "minus majority", "95%", *known],
        rows,
    )


def curves(report: Report, title: str, name: str) -> Picture:
    """Accuracy against n, and its table."""
    from eval.plots import curves_figure

    measured: Mapping[str, Any] = report["curves"]
    ns = sorted({point["n"] for line in measured.values() for point in line})
    rows = []
    for rule, line in measured.items():
        at = {point["n"]: point for point in line}
        cells = [f"{percent(at[n]['accuracy'])} {interval(at[n]['ci95'])}" if n in at else "" for n in ns]
        rows.append([name_of(rule, report), *cells])
    headline = headline_of(report)
    table = Table(
        "Accuracy in per cent at each n, with 95% intervals",
        ["rule", *(f"n = {n}" for n in ns)],
        rows,
        keys=list(measured),
        shown=[rule for rule in (*SHOWN_FIRST, headline, f"weighted_{headline}") if rule in measured],
    )
    return Picture(
        name,
        "Accuracy against n, the number of candidates: expected over all subsets of the pool; bands are 95%",
        f"A line chart with a line a rule from n = {ns[0]} to n = {ns[-1]}. The table below has its figures.",
        partial(curves_figure, report, title),
        table,
    )


def minus_majority(report: Report, rule: str) -> Mapping[str, Any] | None:
    """A rule minus majority: from the rule itself, or from where older runs have it."""
    found = report["rules"][rule].get("minus_majority") or report.get("paired", {}).get(
        f"{rule}_minus_majority"
    )
    return found if isinstance(found, Mapping) else None


def _mark(report: Report, rule: str) -> Mark:
    paired = minus_majority(report, rule)
    return mark_of(_of_rule(report, rule, "verdict"), None if paired is None else paired["ci95"])


def _of_rule(report: Report, rule: str, key: str) -> Any:
    """What the run says of a rule beside its accuracy: in the rule, or with its difference from majority."""
    each = report["rules"][rule]
    return each[key] if key in each else (minus_majority(report, rule) or {}).get(key)


def _p(value: float | None) -> str:
    """A p-value to two digits; what is under one in ten thousand is said so."""
    if value is None:
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _auc(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
