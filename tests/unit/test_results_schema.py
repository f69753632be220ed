"""docs/results.md documents the keys of a report: each key of a real one, and no key that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.report import evaluate
from eval.rules import RULES
from eval.scores import FloatArray
from shepherd.records import Candidate, Problem, ProblemPool

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def halved(scores: FloatArray) -> FloatArray:
    return scores / 2


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Everything that a report can have: log-likelihoods, a control, a calibration, an n below the pool's."""
    rng = np.random.default_rng(0)
    pools = [
        ProblemPool(
            Problem(f"p{index}", "?", "1"),
            tuple(
                Candidate(f"so\nThe answer is: {answer}", logprob=float(-answer))
                for answer in rng.integers(1, 4, size=6)
            ),
        )
        for index in range(20)
    ]
    scores = [[[float(each) for each in rng.random(2)] for _ in range(6)] for _ in pools]
    everything = {"extra": {"control": scores}, "calibration": halved}
    return evaluate(pools, scores, answer_style="shepherd", n=4, bootstrap=100, **everything).to_json()


def keys_of(value: object, path: str, rules: set[str]) -> Iterator[str]:
    """The paths of everything in a report, names of rules and of controls replaced."""
    if isinstance(value, dict):
        for key, each in value.items():
            name = key
            if path in ("rules", "curves", "auc_within_question", "policies.ties"):
                assert key in rules, key
                name = "<rule>"
            elif path == "paired":
                name = "<rule>_minus_majority"
            elif path == "minus_headline":
                name = "<control>"
            elif path == "policies" and not isinstance(each, dict):
                name = "<count>"
            yield from keys_of(each, f"{path}.{name}" if path else name, rules)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for each in value:
            yield from keys_of(each, f"{path}[]", rules)
    else:
        yield path


def documented() -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_key_is_documented_and_every_documented_key_is_there(report: dict[str, Any]) -> None:
    found = set(keys_of(report, "", {*RULES, "control", "pass_at_n"}))
    stands_for_more = {
        key for key in documented() if any(each.startswith(f"{key}.") for each in documented())
    }
    assert found - documented() == set()
    assert documented() - found - stands_for_more == set()
    assert stands_for_more - found == {"minus_headline.<control>"}  # the others are null for majority itself


def test_the_rules_the_page_names_are_those_there_are(report: dict[str, Any]) -> None:
    assert list(report["rules"]) == [*RULES[:-3], "control", *RULES[-3:]]
    names = PAGE.read_text(encoding="utf-8").split("## How")[0]
    for rule in RULES:
        pattern = re.sub(r"^weighted_(calibrated_)?.*", r"weighted_\1<score>", rule)
        assert f"`{pattern}`" in names, rule


def test_differences_are_of_what_stands_beside_them(report: dict[str, Any]) -> None:
    majority = report["rules"]["majority"]
    assert majority["minus_majority"] is None
    for rule, each in report["rules"].items():
        if rule == "majority":
            continue
        added = each["minus_majority"]
        assert added["difference"] == pytest.approx(each["accuracy"] - majority["accuracy"])
        paired = report["paired"][f"{rule}_minus_majority"]
        assert (paired["difference"], paired["ci95"]) == (added["difference"], added["ci95"])
        assert 0 < added["p"] <= added["p_holm"] <= 1
        assert isinstance(added["verdict"], str)
    for rule, points in report["curves"].items():
        for point, base in zip(points, report["curves"]["majority"], strict=True):
            if rule != "majority":
                expected = point["accuracy"] - base["accuracy"]
                assert point["minus_majority"]["difference"] == pytest.approx(expected)
    control, headline = report["rules"]["control"], report["rules"][report["headline"]]
    assert report["minus_headline"]["control"]["difference"] == control["accuracy"] - headline["accuracy"]
    at_1 = [points[0]["minus_majority"] for rule, points in report["curves"].items() if rule != "majority"]
    assert {each["problems_differing"] for each in at_1} == {0}  # one candidate leaves nothing to choose
    assert {each["p"] for each in at_1} == {1.0}
