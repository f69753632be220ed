"""Solutions as chat models really write them: their steps, what the verifier reads of them, their answer."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shepherd.answers import extract
from shepherd.steps import TAG, render, split

CASES = json.loads(Path(__file__).with_name("chat_solutions.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["source"][:50])
def test_a_chat_solution(case: dict[str, Any]) -> None:
    solution = split(case["text"])
    assert list(solution.steps) == case["steps"], case["source"]
    assert solution.join() == case["text"]
    expected = None if case["answer"] is None else Fraction(case["answer"])
    assert extract(case["text"]) == expected, case["source"]
    read = render(solution.steps)
    assert read.count(TAG) == read.count("\n") + 1 == len(case["steps"])
    assert render(split(read).steps) == read
