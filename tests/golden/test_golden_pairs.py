"""Pairs worked out by hand: which two candidates, which texts, and why every other two are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.grading import grade
from generation.config import PromptConfig
from generation.pairs.choose import choose
from generation.pairs.config import PairsConfig
from generation.pairs.rules import REASONS
from shepherd.records import Candidate, Problem, ProblemPool, ScoreLine

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("pairs.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[each["name"] for each in CASES])
def test_pairs_are_those_worked_by_hand(case: dict[str, Any]) -> None:
    candidates = tuple(
        Candidate(each["text"], each.get("generator", ""), tokens=each.get("tokens"))
        for each in case["candidates"]
    )
    pool = ProblemPool(Problem("p", "How many?", case["gold"]), candidates)
    scores = ScoreLine("p", tuple(tuple(each["scores"]) for each in case["candidates"]), "v1")
    config = PairsConfig(**case["config"])
    found = choose(pool, scores, grade(pool, "auto"), config, prompt=PromptConfig(), round=3)

    assert [
        (*two, pair.chosen.score, pair.rejected.score)
        for two, pair in zip(found.indices, found.pairs, strict=True)
    ] == [pytest.approx(tuple(each)) for each in case["pairs"]]
    for pair, (better, worse) in zip(found.pairs, found.indices, strict=True):
        assert (pair.chosen.candidate, pair.rejected.candidate) == (
            f"round-3/p/{better}",
            f"round-3/p/{worse}",
        )
        assert (pair.problem, pair.round, pair.verifier) == ("p", 3, "v1")
        assert pair.why.startswith(config.how)
    dropped = {(each.better, each.worse, each.why) for each in found.dropped}
    assert dropped == {
        (f"round-3/p/{better}", "" if worse is None else f"round-3/p/{worse}", why)
        for better, worse, why in case["dropped"]
    }
    assert len(found.dropped) == len(case["dropped"])
    if "texts" in case:
        assert [[pair.prompt, pair.chosen.text, pair.rejected.text] for pair in found.pairs] == case["texts"]
        assert [[pair.chosen.ends, pair.rejected.ends] for pair in found.pairs] == case["ends"]


def test_every_reason_is_worked_by_hand_once() -> None:
    assert {why for case in CASES for *_, why in case["dropped"]} == set(REASONS)
