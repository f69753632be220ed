"""Contamination between real sets, whose overlap is known: train and test, test and itself, pools on test."""

from __future__ import annotations

from pathlib import Path

import pytest

from shepherd import problems
from verifier.data.contaminated import compare
from verifier.data.rows import read_rows


@pytest.mark.parametrize(
    ("questions", "evaluation", "expected"),
    [
        pytest.param("gsm8k/train.jsonl", "gsm8k/test.jsonl", (7473, 0, 0, 2), id="train is clean of test"),
        pytest.param("gsm8k/test.jsonl", "gsm8k/test.jsonl", (1319, 1319, 0, 0), id="test is test"),
        pytest.param(
            "candidates/subq_chatgpt_n13.jsonl.gz",
            "gsm8k/test.jsonl",
            (1315, 1315, 0, 0),
            id="SubQ is on test",
        ),
        pytest.param(
            "word_problems/svamp.json", "gsm8k/test.jsonl", (None, 0, 0, 0), id="SVAMP is another set"
        ),
    ],
)
def test_known_overlaps_are_found(
    foreign_data: Path, questions: str, evaluation: str, expected: tuple[int | None, int, int, int]
) -> None:
    read = problems.read_questions(str(foreign_data / questions))
    source = str(foreign_data / evaluation)
    counts = compare(read, [source]).to_json()["against"][source]
    size, *found = expected
    assert len(read) == (size or len(read))
    assert [counts["exact"], counts["overlap"], counts["other_numbers"]] == found


def test_the_real_math_shepherd_rows_are_on_the_train_split(foreign_data: Path) -> None:
    _, counts = read_rows(str(foreign_data / "math_shepherd" / "openr_samples_math-shepherd.jsonl"))
    folder = str(foreign_data / "gsm8k")
    assert compare(counts.questions, [folder]).contaminated == frozenset()
    assert len(compare(counts.questions, [folder + "/train.jsonl"]).contaminated) == 7


def test_the_real_problem_files_are_read_whole(foreign_data: Path) -> None:
    folder = str(foreign_data / "gsm8k")
    train, test = (problems.read(folder, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (7473, 1319)
    assert sum("," in (each.answer or "") for each in train + test) == 79 + 14
    assert sum((each.answer or "").startswith("-") for each in train + test) == 3 + 2
    svamp = problems.read(str(foreign_data / "word_problems" / "svamp.json"))
    assert (len(svamp), svamp[0].id, svamp[0].answer) == (1000, "chal-1", "51")
    multiarith = problems.read(str(foreign_data / "word_problems" / "multiarith.jsonl"))
    assert (len(multiarith), multiarith[0].answer) == (600, "39")
    assert all(each.answer and each.question for each in train + test + svamp + multiarith)
