"""The tables of benchmarks/learning.py in Markdown, as README and docs show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from record.markdown import table

from eval.figures import interval, percent, points

NAMES = {
    "dagger": "`dpo-loop --dagger`, round 3",
    "alone": "`dpo-loop --no-dagger`, round 3",
    "sft-accepted": "`sft` on the accepted solutions",
    "grpo-outcome": "`grpo`, outcome",
    "grpo-process-deepseek": "`grpo`, process, DeepSeekMath's form",
    "grpo-process-min": "`grpo`, process, min-form, credit to the step that sets the minimum",
    "grpo-process-min-until": "… credit until that step's end",
    "grpo-process-min-stopped": "… credit to that step, stopped by its sentinel (14,608 rollouts)",
    "grpo-hybrid": "`grpo`, outcome and process (min), hybrid term",
    "bad-gates": "`grpo` (4,096 rollouts) from a bad start, with gates",
    "bad-no-gates": "… without gates (stopped by its sentinel, 1,664)",
}
WATCHED = {
    "validation_greedy": "greedy pass@1, validation, %",
    "probe_loss": "DPO loss on the probe",
    "chosen_logp": "log-probability of its accepted side, nats a token",
    "rejected_logp": "… of its rejected side",
    "kl": "KL to the untrained policy, nats a token",
}


def gain_table(result: Mapping[str, Any]) -> str:
    """What each arm gained on the test problems, a row a run."""
    return table(
        ("what learns", "seed", "greedy pass@1, %", "minus before", "sampled, minus before"),
        (
            (
                NAMES[arm],
                seed,
                percent(run["test"]["greedy"]["accuracy"]),
                *(_difference(run["minus_before"][metric]) for metric in ("greedy", "sampled")),
            )
            for arm, seed, run in _runs(result)
        ),
    )


def rounds_table(result: Mapping[str, Any]) -> str:
    """What was watched of both loops, a row a number and a run, a column a round."""
    rows = []
    for arm, seed, run in _runs(result):
        for key, name in WATCHED.items() if "rounds" in run else ():
            values = [_watched(key, each[key]) for each in run["rounds"]]
            known = key == "probe_loss" and run["probe_loss_spread"] is not None  # one round has no spread
            spread = f"{run['probe_loss_spread']:.4f}" if known else ""
            rows.append((name, arm, seed, *values, spread))
    rows.sort(key=lambda row: list(WATCHED.values()).index(row[0]))
    width = max((len(row) for row in rows), default=4) - 4
    return table(("", "", "seed", *(f"round {at}" for at in range(width)), "spread"), rows)


def between_table(result: Mapping[str, Any]) -> str:
    """Arms against arms: the mean over the seeds, with an interval over problems, and seed by seed."""
    return table(
        ("greedy pass@1", "points", "by seed"),
        (
            (name, _difference(each), ", ".join(points(one) for one in each["by_seed"]))
            for name, each in result["between"].items()
        ),
    )


def _runs(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name, run in sorted(result["runs"].items(), key=lambda item: list(NAMES).index(_arm(item[0]))):
        yield _arm(name), name.rpartition("-")[2], run


def _arm(name: str) -> str:
    return name.rpartition("-")[0]


def _difference(found: Mapping[str, Any]) -> str:
    return f"{points(found['difference'])} {interval(found['ci95'], signed=True)}"


def _watched(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return percent(value) if key == "validation_greedy" else f"{value:.4f}"
