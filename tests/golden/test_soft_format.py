"""The soft format reward worked by hand: every text of soft_format.json with its working."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from generation.learn.grpo.rewards import soft_format

CASES = json.loads(Path(__file__).with_name("soft_format.json").read_text("utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_soft_format(case: dict[str, Any]) -> None:
    assert soft_format(case["text"], tags=case["tags"]) == pytest.approx(case["expected"]), case["working"]
