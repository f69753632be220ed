"""Every form of answer that the project reads, as (source, text, style, expected) in answers.json."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from shepherd.answers import extract

CASES = json.loads(Path(__file__).with_name("answers.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['style']}:{case['text'][:40]!a}")
def test_answer(case: dict[str, str | None]) -> None:
    text, style, expected = case["text"], case["style"], case["expected"]
    assert text is not None
    found = extract(text, style)  # type: ignore[arg-type]
    assert found == (None if expected is None else Fraction(expected)), case["source"]
