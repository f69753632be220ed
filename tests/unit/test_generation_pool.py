"""The plan of sampling, and that a stopped run goes on to the same bytes. The engine is a stand-in."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import generation.generate as room
from generation.config import GenerateConfig, ProblemsConfig, PromptConfig
from generation.engines import Prompt, Sampling
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, read_pool

PROBLEMS = [Problem(f"p{index}", f"How many? {index}\n", str(index)) for index in range(7)]
CONFIG = GenerateConfig(model="stand-in", chunk=6)
CHUNKS = [["p0", "p1"], ["p2", "p3"], ["p4", "p5"], ["p6"]]  # of n = 3


class StandIn:
    """Answers with its batch's size, as a real engine's rounding does; dies after some batches."""

    name = "stand-in"

    def __init__(self, batches: int = 99) -> None:
        self.left, self.closed = batches, False
        self.asked: list[list[str]] = []

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked.append([prompt.key for prompt in prompts])
        return [
            [Candidate(f"{prompt.text}{i} of {len(prompts)}", tokens=3, logprob=-0.123457) for i in range(n)]
            for prompt in prompts
        ]

    def close(self) -> None:
        self.closed = True


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 64))
def test_the_plan_covers_every_problem_once_and_cuts_at_the_same_places(
    problems: int, n: int, chunk: int
) -> None:
    chunks = room.plan(problems, n, chunk)
    assert [index for each in chunks for index in each] == list(range(problems))
    assert all(len(each) * n <= max(chunk, n) for each in chunks)
    longer = room.plan(problems + 5, n, chunk)
    assert [each.start for each in chunks] == [each.start for each in longer][: len(chunks)]


def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    pools = room.sample_pool(CONFIG, 3, PROBLEMS, whole, StandIn())
    assert read_pool(whole) == pools
    expected = whole.read_bytes()
    for length in [0, 1, *range(40, len(expected), 97), len(expected) - 1, len(expected)]:
        path = tmp_path / f"cut-{length}.jsonl"
        path.write_bytes(expected[:length])  # a kill leaves whole lines and a part of one
        engine = StandIn()
        assert room.sample_pool(CONFIG, 3, PROBLEMS, path, engine) == pools
        assert path.read_bytes() == expected
        finished = expected[:length].count(b"\n")
        again = 4 if finished == len(PROBLEMS) else finished // 2  # a chunk is sampled whole
        assert engine.asked == CHUNKS[again:]


def test_what_was_finished_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    with pytest.raises(KeyboardInterrupt):
        room.sample_pool(CONFIG, 3, PROBLEMS, path, StandIn(batches=2))
    assert [pool.problem.id for pool in read_pool(path)] == ["p0", "p1", "p2", "p3"]


def test_an_engine_it_loads_itself_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = StandIn(batches=1)
    monkeypatch.setattr(room, "load_engine", lambda *_, **__: engine)
    with pytest.raises(KeyboardInterrupt):
        room.sample_pool(CONFIG, 3, PROBLEMS, tmp_path / "pool.jsonl")
    assert engine.closed


def test_a_finished_pool_loads_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pool.jsonl"
    room.sample_pool(CONFIG, 3, PROBLEMS, path, StandIn())
    monkeypatch.setattr(room, "load_engine", None)
    assert len(room.sample_pool(CONFIG, 3, PROBLEMS, path)) == 7


def test_a_pool_of_other_problems_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    room.sample_pool(CONFIG, 3, PROBLEMS[:2], path, StandIn())
    with pytest.raises(
        ShepherdError, match=r'pool\.jsonl:1: holds 3 candidates of "p0", the run has 3 of "p1"'
    ):
        room.sample_pool(CONFIG, 3, PROBLEMS[1:], path, StandIn())
    with pytest.raises(ShepherdError, match=r'pool\.jsonl:1: .* the run has 4 of "p0"'):
        room.sample_pool(CONFIG, 4, PROBLEMS, path, StandIn())
    with pytest.raises(ShepherdError, match=r"pool\.jsonl:2: more problems than the run has \(1\)"):
        room.sample_pool(CONFIG, 3, PROBLEMS[:1], path, StandIn())


def test_prompts_are_named_by_problem_and_follow_the_template() -> None:
    assert room.prompts_of(PROBLEMS[:1], PromptConfig()) == [Prompt("p0", "How many? 0")]
    chat = PromptConfig(template="Solve: {question}", chat=True)
    assert room.prompts_of(PROBLEMS[:1], chat) == [Prompt("p0", "Solve: How many? 0", chat=True)]


def test_problems_come_from_a_file_or_from_the_embedded_world(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text('{"id": 1, "question": "?", "answer": 2}\n{"id": 2, "question": "?", "answer": null}\n')
    assert [each.id for each in room.load_problems(ProblemsConfig(source=str(path), limit=1))] == ["1"]
    drawn = room.load_problems(ProblemsConfig(limit=3))
    assert [each.source for each in drawn] == ["embedded"] * 3
    assert drawn == room.load_problems(ProblemsConfig(limit=5))[:3]
