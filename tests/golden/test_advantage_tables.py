"""Advantages worked by hand: every table of advantages.json with its working."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.scores import FloatArray
from generation.learn.grpo.advantages import (
    Tolerance,
    combine,
    hybrid,
    min_advantages,
    outcome_advantages,
    process_advantages,
)

CASES = json.loads(Path(__file__).with_name("advantages.json").read_text("utf-8"))


def part(numbers: Sequence[Any]) -> FloatArray | list[FloatArray]:
    """One number a completion, or one list a completion."""
    if numbers and isinstance(numbers[0], list):
        return [np.array(each, dtype=np.float64) for each in numbers]
    return np.array(numbers, dtype=np.float64)


def found(case: dict[str, Any]) -> FloatArray | list[FloatArray]:
    what, equal = case["what"], Tolerance(1e-6, 1e-6)
    if what == "outcome":
        return outcome_advantages(np.array(case["rewards"], dtype=np.float64), equal)
    if what == "hybrid":
        returns = np.array(case["returns"])
        return hybrid(part(case["advantages"]), returns, case["weight"], case["baseline"])
    if what == "combine":
        return combine([(weight, part(numbers)) for weight, numbers in case["parts"]], case["lengths"])
    steps = (case["step_rewards"], case["ends"], case["lengths"], equal)
    return process_advantages(*steps) if what == "process" else min_advantages(*steps, case["credit"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['what']}: {case['name']}")
def test_advantages(case: dict[str, Any]) -> None:
    got, expected = found(case), part(case["expected"])
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12, err_msg=case["working"])


def test_every_function_has_tables() -> None:
    assert {case["what"] for case in CASES} == {"outcome", "process", "min", "hybrid", "combine"}
    assert all(case["working"] for case in CASES)
