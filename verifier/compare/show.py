"""The table of `shepherd compare-heads`: a column a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from shepherd.console import duration, table


def show_comparison(result: Mapping[str, Any], run: object) -> None:
    """Print what ``results.json`` holds."""
    heads: Mapping[str, Any] = result["heads"]
    rows = [(name, *(of(each) for each in heads.values())) for name, of in _rows(result)]
    title = f"heads of one verifier: best of {result['n']} on {result['problems']:,} problems"
    table(title, ("", *heads), rows)
    majority = result["majority"]
    click.echo(
        f"majority vote {_percent(majority['accuracy'])} {_interval(majority['ci95'])}, "
        f"pass@1 {_percent(result['pass_at_1'])}, pass@{result['n']} {_percent(result['pass_at_n'])}"
    )
    for name, each in result["differences"].items():
        click.echo(f"{name.replace('_', ' ')}: {_points(each)}, {each['verdict']}")
    if "outcome" in heads:
        click.echo("outcome: its step figures are those of its values of prefixes; trained is the last alone")
    click.echo(f"files: {run}")


def _rows(result: Mapping[str, Any]) -> Sequence[tuple[str, Callable[[Any], str]]]:
    """Names of the lines, and what each says of a head."""
    return [
        ("step AUC", lambda each: _metric(each, "auc")),
        ("  of position alone", lambda each: _metric(each, "auc", "baseline")),
        ("AP of bad steps", lambda each: _metric(each, "ap_bad")),
        ("AUC within question", lambda each: _metric(each, "auc_within_question")),
        ("held-out loss", _loss),
        (f"best of {result['n']} %", lambda each: f"by {each['rule']} {_percent_of(each['best_of_n'])}"),
        ("minus majority", lambda each: _points(each["minus_majority"])),
        ("pool AUC within question", lambda each: _number(each["pool_auc_within_question"])),
        ("trainable parameters", lambda each: f"{each['trainable_parameters']:,}"),
        ("training", lambda each: duration(each["train_s"])),
        ("peak memory MiB", lambda each: f"{each['peak_memory_bytes'] / (1 << 20):,.0f}"),
    ]


def _metric(each: Mapping[str, Any], name: str, what: str = "value") -> str:
    return _number(each["metrics"].get(name, {}).get(what))


def _loss(each: Mapping[str, Any]) -> str:
    loss = each["metrics"].get("loss")
    return "–" if loss is None else f"{loss:.3f} a {each['loss_of_a']}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(bounds: Sequence[float], sign: str = "") -> str:
    low, high = bounds
    return f"[{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def _percent_of(each: Mapping[str, Any]) -> str:
    return f"{_percent(each['accuracy'])} {_interval(each['ci95'])}"


def _points(each: Mapping[str, Any]) -> str:
    return f"{100 * each['difference']:+.1f} {_interval(each['ci95'], '+')}"
