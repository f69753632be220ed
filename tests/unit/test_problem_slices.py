"""Problems that are passed over: one split cut into two that share none."""

from pathlib import Path

import pytest

from generation.config import PoolConfig, ProblemsConfig, RerankConfig
from generation.generate import load_problems
from shepherd.errors import ShepherdError
from shepherd.files import write_jsonl


def test_skip_cuts_one_split_into_two_that_share_no_problem() -> None:
    whole = load_problems(ProblemsConfig(split="train", limit=6))
    assert load_problems(ProblemsConfig(split="train", limit=4, skip=2)) == whole[2:]


def test_skip_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    write_jsonl(file, ({"id": f"p{at}", "question": f"{at}?", "answer": "1"} for at in range(5)))
    found = load_problems(ProblemsConfig(source=str(file), skip=3))
    assert [each.id for each in found] == ["p3", "p4"]
    assert [each.id for each in load_problems(ProblemsConfig(source=str(file), skip=1, limit=2))] == [
        "p1",
        "p2",
    ]
    with pytest.raises(ShepherdError, match=r"has 5 problems, and skip=5 leaves none"):
        load_problems(ProblemsConfig(source=str(file), skip=5))
    with pytest.raises(ValueError, match="a pool is read from its beginning"):
        RerankConfig(pool=PoolConfig(file="pool.jsonl"), problems=ProblemsConfig(skip=1))
