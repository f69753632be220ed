"""A run as people read it: what was sampled and learnt from, what it gained, and what stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.figures import interval, percent, points
from generation.learn.grpo.plot import PICTURE
from generation.learn.loop.show import show_test
from shepherd import console


def show_grpo(result: Mapping[str, Any], folder: Path) -> None:
    """Print a finished run.

    Args:
        result: as ``results.json`` has it.
        folder: the run directory.
    """
    first, last = result["first"], result["last"]
    groups: Mapping[str, int] = result["groups"]
    sampled = sum(groups.values())
    fates = [
        (f"groups: {name.replace('_', ' ')}", "", f"{count:,} ({percent(count / sampled)}%)")
        for name, count in groups.items()
        if count
    ]
    rewards = [
        (f"reward: {name.removeprefix('reward_')}", _number(first[name]), _number(last.get(name)))
        for name in first
        if name.startswith("reward_")
    ]
    watched = [
        (name, _number(first.get(key)), _number(last.get(key)))
        for name, key in (
            ("tokens a completion", "tokens"),
            ("steps a completion", "steps"),
            ("entropy (nats a token)", "entropy"),
            ("KL to the reference (nats a token)", "kl"),
        )
    ]
    heldout = [each["accuracy"] for each in result["evaluations"]]
    console.table(
        f"GRPO: {result['rollouts']:,} rollouts by {result['rollout']}, {result['steps']:,} optimizer steps",
        ("", "first batch", "last batch"),
        [
            *rewards,
            *watched,
            ("held-out greedy pass@1", percent(heldout[0]), percent(heldout[-1])),
            *fates,
        ],
    )
    show_test(result["test"])
    out = console.stdout()
    out.print(answer_of(result["test"]))
    out.print(f"adapter: {folder / result['adapter']}\npicture: {folder / PICTURE}")
    out.print(f"use it: shepherd generate --set adapter={folder}")


def answer_of(test: Mapping[str, Any]) -> str:
    """Say in one sentence what the run did to greedy pass@1.

    Example:
        >>> found = {"difference": 0.05, "ci95": [0.02, 0.08], "p": 0.001}
        >>> answer_of({"differences": {"greedy": found}, "before": {"problems": 500}})
        'the policy solves +5.0 [+2.0, +8.0] points more of 500 test problems than before: it learnt.'
    """
    found, problems = test["differences"]["greedy"], test["before"]["problems"]
    said = f"{points(found['difference'])} {interval(found['ci95'], signed=True)} points"
    if found["ci95"][0] > 0:
        return f"the policy solves {said} more of {problems:,} test problems than before: it learnt."
    if found["ci95"][1] < 0:
        return f"the policy solves {said} of {problems:,} test problems against before: it got worse."
    return f"the policy against itself before, on {problems:,} test problems: {said}; no difference shown."


def stop_line(stopped: Mapping[str, Any], folder: Path) -> str:
    """Say in one line what ended a run, and what is kept of it.

    Example:
        >>> stopped = {"sentinel": "length", "said": "completions are 3 times as long", "batch": 9,
        ...     "kept_batch": 4, "kept_accuracy": 0.5}
        >>> print(stop_line(stopped, Path("runs/a")))
        runs/a: stopped after generation batch 9 by the sentinel length: completions are 3 times as long;
        adapter/ is that of batch 4, the best evaluated before (50.0% held out); bounds: sentinels
    """
    return (
        f"{folder}: stopped after generation batch {stopped['batch']} by the sentinel {stopped['sentinel']}: "
        f"{stopped['said']}; adapter/ is that of batch {stopped['kept_batch']}, the best evaluated before "
        f"({percent(stopped['kept_accuracy'])}% held out); bounds: sentinels"
    )


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.3f}"
