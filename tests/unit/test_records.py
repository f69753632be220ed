from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd import problems
from shepherd.errors import ShepherdError
from shepherd.records import (
    Candidate,
    Problem,
    ProblemPool,
    ScoreLine,
    StepRow,
    iter_pool,
    read_pool,
    read_scores,
    write_pool,
    write_scores,
)
from shepherd.steps import TAG

LINE: dict[str, Any] = {
    "id": "p1",
    "question": "How many?",
    "answer": "5",
    "candidates": [{"text": "2 + 3 = 5"}],
}


def _write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


_texts = st.text(st.characters(exclude_categories=["Cs"]))
_unit = st.floats(0, 1)
_candidates = st.builds(
    Candidate,
    text=_texts,
    generator=_texts,
    finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    tokens=st.none() | st.integers(0, 10**6),
    logprob=st.none() | st.floats(-1e6, 0),
)
_problems = st.builds(Problem, id=_texts, question=_texts, answer=st.none() | _texts, source=_texts)


@given(st.builds(ProblemPool, problem=_problems, candidates=st.lists(_candidates, min_size=1).map(tuple)))
def test_a_pool_line_comes_back(pool: ProblemPool) -> None:
    row = json.loads(json.dumps(pool.to_json()))
    assert ProblemPool.from_json(row, "pool.jsonl", 1) == pool
    assert Problem.from_json(row, "pool.jsonl", 1) == pool.problem


@given(
    st.builds(
        ScoreLine, id=_texts, step_scores=st.lists(st.lists(_unit).map(tuple)).map(tuple), verifier=_texts
    )
)
def test_a_scores_line_comes_back(line: ScoreLine) -> None:
    assert ScoreLine.from_json(json.loads(json.dumps(line.to_json())), "scores.jsonl", 1) == line


@given(st.lists(st.tuples(_texts, st.none() | _unit)), _texts)
def test_a_step_row_comes_back(labelled: list[tuple[str, float | None]], question: str) -> None:
    steps, labels = tuple(step for step, _ in labelled), tuple(label for _, label in labelled)
    row = StepRow(question, steps, labels, source="test", id="r1")
    assert StepRow.from_json(json.loads(json.dumps(row.to_json())), "rows.jsonl", 1) == row


def test_what_real_data_holds_is_read(tmp_path: Path) -> None:
    """A number as answer or id, a null text, repeated texts, unknown keys, half a surrogate pair."""
    candidates = [{"text": None, "policy": "chat"}, {"text": "5"}, {"text": "5"}, {"text": "\ud83d 5"}]
    path = _write(
        tmp_path / "pool.jsonl",
        {"id": 7, "question": "?", "answer": 18.0, "gold": 1, "candidates": candidates},
    )
    [pool] = read_pool(path)
    assert pool.problem == Problem("7", "?", "18.0", "")
    assert [each.text for each in pool.candidates] == ["", "5", "5", "\ufffd 5"]
    pool.candidates[3].text.encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": ...}, 'no "candidates" field; a pool line needs id, question, answer and candidates'),
        ({"question": ...}, 'no "question" field; a pool line needs'),
        ({"answer": ...}, 'no "answer" field; a pool line needs'),
        ({"id": ...}, 'no "id" field; a pool line needs'),
        ({"id": None}, '"id" must be text, found None'),
        ({"question": 5}, '"question" must be text, found 5'),
        ({"answer": ["5"]}, '"answer" must be text, a number, or null where there is no gold answer'),
        ({"answer": True}, '"answer" must be text, a number, or null'),
        ({"candidates": []}, '"p1" has no candidates; drop the line or generate some'),
        ({"candidates": {"text": "5"}}, '"candidates" must be a list of'),
        ({"candidates": ["5"]}, r"candidates\[0\] is not an object; a candidate is"),
        ({"candidates": [{"text": "5"}, {"texts": "5"}]}, r'no "text" field in candidates\[1\]'),
        ({"candidates": [{"text": 5}]}, r'"candidates\[0\].text" must be text, found 5'),
        (
            {"candidates": [{"text": "5", "tokens": -1}]},
            r"candidates\[0\].tokens must be a whole number, found -1",
        ),
        ({"candidates": [{"text": "5", "logprob": "x"}]}, r"candidates\[0\].logprob must be a finite number"),
        (
            {"candidates": [{"text": "5", "logprob": -(10**400)}]},  # JSON has no largest number
            r"candidates\[0\].logprob must be a finite number",
        ),
        (
            {"candidates": [{"text": "5", "logprob": float("nan")}]},
            r"candidates\[0\].logprob must be a finite number",
        ),
    ],
)
def test_a_fault_in_a_pool_names_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {key: value for key, value in {**LINE, **change}.items() if value is not ...}
    path = _write(tmp_path / "pool.jsonl", {**LINE, "id": "p0"}, row)
    with pytest.raises(ShepherdError, match=f"^{path}:2: {message}"):
        read_pool(path)


def test_an_empty_pool_and_a_repeated_id_are_errors(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.jsonl")
    with pytest.raises(ShepherdError, match=f"^{path}: no lines; a pool file has one JSON object a line"):
        read_pool(path)
    _write(path, LINE, {**LINE, "id": "p2"}, LINE)
    with pytest.raises(ShepherdError, match=f'^{path}:3: id "p1" was already on line 1; ids must differ'):
        read_pool(path)
    with pytest.raises(ShepherdError, match=r":3: id"):
        problems.read(str(path))


def test_what_came_before_a_fault_was_read(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps(LINE) + "\n{")
    pools = iter_pool(path)
    assert next(pools).problem.id == "p1"
    with pytest.raises(ShepherdError, match=r"pool.jsonl:2: broken JSON"):
        next(pools)


def test_the_first_problems_can_be_read_alone(tmp_path: Path) -> None:
    path = _write(tmp_path / "pool.jsonl", LINE, {**LINE, "id": "p2"}, {"id": "broken"})
    assert [problem.id for problem in problems.read(str(path), limit=2)] == ["p1", "p2"]
    assert problems.read(str(path), limit=0) == []
    with pytest.raises(
        ShepherdError, match=r':3: no "question" field; a problem line needs id, question and answer$'
    ):
        problems.read(str(path))


POOL = [
    ProblemPool(Problem("p1", "?", "5"), (Candidate(f"Step 1: a {TAG}\nStep 2: b {TAG}"), Candidate(""))),
    ProblemPool(Problem("p2", "?", None), (Candidate("one line"), Candidate("one\ntwo\n#### 2"))),
]
SCORES = [ScoreLine("p1", ((0.5, 1.0), ()), "v1"), ScoreLine("p2", ((0.25,), (0.0, 1.0)), "v1")]


def test_scores_are_aligned_to_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    write_scores(path, [SCORES[1], ScoreLine("elsewhere", ((0.5,),)), SCORES[0]])
    assert read_scores(path, POOL) == SCORES
    write_pool(tmp_path / "pool.jsonl.xz", POOL)
    assert read_scores(path, read_pool(tmp_path / "pool.jsonl.xz")[1:]) == SCORES[1:]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"id": "p2", "step_scores": [[0.5]]},
            ':2: "p2" has 1 lists of step scores; the pool has 2 candidates',
        ),
        (
            {"id": "p2", "step_scores": [[0.5], [1]]},
            ':2: candidate 1 of "p2" has 1 step scores; its text has 2 steps',
        ),
        (
            {"id": "p2", "step_scores": [[1.5], [1, 1]]},
            r":2: step_scores\[0\]\[0\] must be in \[0, 1\], found 1.5",
        ),
        (
            {"id": "p2", "step_scores": [[float("nan")], [1, 1]]},
            r":2: step_scores\[0\]\[0\] must be in \[0, 1\], found nan",
        ),
        (
            {"id": "p2", "step_scores": [[None], [1, 1]]},
            r":2: step_scores\[0\]\[0\] must be in \[0, 1\], found None",
        ),
        (
            {"id": "p2", "step_scores": [[True], [1, 1]]},
            r":2: step_scores\[0\]\[0\] must be in \[0, 1\], found True",
        ),
        ({"id": "p2", "step_scores": [0.5]}, ':2: "step_scores" must be a list of lists'),
        ({"id": "p2"}, ':2: no "step_scores" field; a scores line needs id and step_scores'),
        ({"step_scores": []}, ':2: no "id" field; a scores line needs id and step_scores'),
        ({"id": "p1", "step_scores": [[0.5, 1], []]}, ':2: id "p1" was already on line 1; ids must differ'),
        (
            {"id": "p3", "step_scores": []},
            r': no scores for 1 of 2 problems \("p2"\); score the whole pool first',
        ),
    ],
)
def test_a_fault_in_scores_names_file_and_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = _write(tmp_path / "scores.jsonl", SCORES[0].to_json(), row)
    with pytest.raises(ShepherdError, match=f"^{path}{message}"):
        read_scores(path, POOL)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?", "steps": ["a", "b"], "labels": [1]}, "2 steps but 1 labels; each step needs one"),
        (
            {"question": "?", "steps": ["a"], "labels": [2]},
            r"labels\[0\] must be in \[0, 1\] or null, found 2",
        ),
        (
            {"question": "?", "steps": ["a"], "labels": ["+"]},
            r"labels\[0\] must be in \[0, 1\] or null, found '\+'",
        ),
        ({"question": "?", "steps": [1], "labels": [1]}, r'"steps\[0\]" must be text, found 1'),
        ({"question": "?", "steps": "a", "labels": [1]}, '"steps" and "labels" must be lists'),
        ({"steps": ["a"], "labels": [1]}, 'no "question" field; a step row needs question, steps and labels'),
    ],
)
def test_a_fault_in_a_step_row_names_file_and_line(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ShepherdError, match=f"^rows.jsonl:12: {message}"):
        StepRow.from_json(row, "rows.jsonl", 12)


def test_labels_of_any_kind_become_numbers() -> None:
    row = StepRow.from_json(
        {"question": "?", "steps": list("abcd"), "labels": [True, 0, 0.25, None]}, "rows.jsonl", 1
    )
    assert row.labels == (1.0, 0.0, 0.25, None)
