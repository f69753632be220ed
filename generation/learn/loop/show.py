"""A loop as people read it: a line a round, what the kept round gained on the test problems, the alarms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.figures import interval, percent, points
from generation.report_table import p_value
from shepherd import console

PICTURE = "rounds.png"

_NAMES = {
    "greedy": "greedy pass@1",
    "sampled": "sampled pass@1",
    "majority": "majority",
    "best_of_n": "best of n",
}


def show_loop(result: Mapping[str, Any], folder: Path) -> None:
    """Print a finished loop.

    Args:
        result: as ``results.json`` has it.
        folder: the run directory.
    """
    rounds = result["rounds"]
    problems = rounds[0]["validation"]["problems"]
    console.table(
        f"rounds, on {problems:,} validation problems (points against round 0, paired; * kept)",
        ("round", "pairs", "union", "greedy", "minus round 0", "95%", "best of n", "KL", "alarms"),
        [_round(each, result["kept_round"]) for each in rounds],
    )
    show_test(result["test"])
    out = console.stdout()
    for each in rounds:
        for alarm in each["alarms"]:
            out.print(f"round {each['round']}: {alarm}", style="yellow")
    out.print(result["answer"])
    kept = result["adapter"]
    out.print(f"adapter: {folder / kept}" if kept else "adapter: none; no round was better than none")
    out.print(f"picture: {folder / PICTURE}\nfiles: {folder}")


def show_test(test: Mapping[str, Any]) -> None:
    """Print what training changed on the test problems, metric by metric.

    Args:
        test: ``before``, ``after``, ``differences`` and ``temperature``, as ``results.json`` has them.
    """
    before, after = test["before"], test["after"]
    console.table(
        f"test: {before['problems']:,} problems, asked once; n = {before['n']}, sampled at temperature "
        f"{test['temperature']:g}",
        ("", "before", "after", "difference", "95%", "p"),
        [
            [
                _NAMES[name],
                percent(before[name]["accuracy"]),
                percent(after[name]["accuracy"]),
                points(each["difference"]),
                interval(each["ci95"], signed=True),
                p_value(each["p"]),
            ]
            for name, each in test["differences"].items()
        ],
    )


def answer_of(test: Mapping[str, Any], kept: int) -> str:
    """Say in one sentence what the loop did to greedy pass@1.

    Example:
        >>> found = {"difference": 0.05, "ci95": [0.02, 0.08], "p": 0.001}
        >>> answer_of({"differences": {"greedy": found}, "before": {"problems": 500}}, 3)
        'round 3 solves +5.0 [+2.0, +8.0] points more of 500 test problems than round 0: it learnt.'
    """
    found, problems = test["differences"]["greedy"], test["before"]["problems"]
    said = f"{points(found['difference'])} {interval(found['ci95'], signed=True)} points"
    if kept == 0:
        return "no round was better than round 0 on the validation problems: nothing was learnt."
    if found["ci95"][0] > 0:
        return f"round {kept} solves {said} more of {problems:,} test problems than round 0: it learnt."
    if found["ci95"][1] < 0:
        return f"round {kept} solves {said} of {problems:,} test problems against round 0: it got worse."
    return f"round {kept} against round 0 on {problems:,} test problems: {said}; no difference shown."


def _round(each: Mapping[str, Any], kept: int) -> list[str]:
    against, watched = each["against_first"].get("greedy"), each["watched"]
    found = each["validation"]
    return [
        f"{each['round']}{' *' if each['round'] == kept else ''}",
        f"{each['pairs']:,}" if each["round"] else "",
        f"{each['union']:,}" if each["round"] else "",
        percent(found["greedy"]["accuracy"]),
        points(against["difference"]) if against else "",
        interval(against["ci95"], signed=True) if against else "",
        percent(found["best_of_n"]["accuracy"]),
        "" if watched["kl"] is None else f"{watched['kl']:.4f}",
        str(len(each["alarms"])) if each["alarms"] else "",
    ]
