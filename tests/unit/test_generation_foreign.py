import json
from pathlib import Path
from typing import Any

import pytest

from generation import foreign
from shepherd.answers import PoolFormat
from shepherd.errors import ShepherdError

SHEPHERD = {"id": "a", "question": "1 + 1?", "answer": "2", "candidates": [{"text": "2"}, {"text": "3"}]}
SUBQ = {"idx": 7, "question": "1 + 1?", "gold": 2.0, "candidates": [{"policy": "chat", "text": None}]}
ZEROEVAL = {"idx": 7, "question": "1 + 1?", "gold": "2", "candidates": [{"model": "m", "output": "x"}]}
OPENAI = {
    "question": "1 + 1?",
    "ground_truth": "1 + 1 = 2\nA: 2",
    "6b": {"is_correct": True, "solution": "A: 2"},
    "175b": {"is_correct": False, "solution": "A: 3"},
}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_subq_and_zeroeval_lines_become_pool_lines(tmp_path: Path) -> None:
    pool = foreign.read(write(tmp_path, SUBQ), "subq").pools[0]
    assert (pool.problem.id, pool.problem.answer, pool.problem.source) == ("7", "2.0", "subq")
    assert [(each.text, each.generator) for each in pool.candidates] == [("", "chat")]
    pool = foreign.read(write(tmp_path, ZEROEVAL), "zeroeval").pools[0]
    assert [(each.text, each.generator) for each in pool.candidates] == [("x", "m")]


def test_an_openai_line_is_one_pool_with_a_candidate_a_model_and_its_flags(tmp_path: Path) -> None:
    read = foreign.read(write(tmp_path, OPENAI, OPENAI), "openai-samples")
    assert [pool.problem.id for pool in read.pools] == ["1", "2"]
    assert read.pools[0].problem.answer == "2"
    assert [each.generator for each in read.pools[0].candidates] == ["6b", "175b"]
    assert read.flags == [(True, False), (True, False)]


def test_limit_takes_the_first_problems_and_reads_no_further(tmp_path: Path) -> None:
    path = write(tmp_path, SHEPHERD, {**SHEPHERD, "id": "b"}, {"broken": True})
    assert [pool.problem.id for pool in foreign.read(path, limit=2).pools] == ["a", "b"]


def without(row: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    ("pool_format", "row", "message"),
    [
        ("shepherd", without(SHEPHERD, "answer"), 'no "answer" field'),
        ("shepherd", {**SHEPHERD, "candidates": []}, '"a" has no candidates'),
        ("shepherd", {**SHEPHERD, "candidates": [{"txt": "2"}]}, r'no "text" field in candidates\[0\]'),
        ("subq", SHEPHERD, 'no "idx" field; a subq line needs idx, question, gold, candidates'),
        ("subq", {**SUBQ, "candidates": [{"policy": "chat"}]}, r'no "text" field in candidates\[0\]'),
        ("subq", {**SUBQ, "candidates": "text"}, '"candidates" must be a list'),
        ("subq", {**SUBQ, "candidates": ["text"]}, r"candidates\[0\] is not an object"),
        (
            "subq",
            {**SUBQ, "candidates": [{"policy": "chat", "text": 3}]},
            r'"candidates\[0\].text" must be text',
        ),
        ("subq", {**SUBQ, "idx": [1]}, '"id" must be text'),
        ("zeroeval", without(ZEROEVAL, "gold"), 'no "gold" field; a zeroeval line needs'),
        ("zeroeval", {**ZEROEVAL, "candidates": []}, '"7" has no candidates'),
        ("openai-samples", without(OPENAI, "ground_truth"), 'no "ground_truth" field'),
        (
            "openai-samples",
            {**OPENAI, "ground_truth": "2"},
            '"ground_truth" must be a text that ends with its',
        ),
        ("openai-samples", {**OPENAI, "6b": {"is_correct": True}}, 'no "solution" field in "6b"'),
        (
            "openai-samples",
            {**OPENAI, "6b": {"solution": "A: 2"}},
            'no "is_correct" of true or false in "6b"',
        ),
        ("openai-samples", {"question": "?", "ground_truth": "A: 2"}, "has no candidates"),
    ],
)
def test_a_line_that_does_not_fit_is_named(
    tmp_path: Path, pool_format: PoolFormat, row: dict[str, Any], message: str
) -> None:
    good = {"shepherd": SHEPHERD, "subq": SUBQ, "zeroeval": ZEROEVAL, "openai-samples": OPENAI}[pool_format]
    path = write(tmp_path, {**good, "id": "first", "idx": "first"}, row)
    with pytest.raises(ShepherdError, match=rf"pool\.jsonl:2: .*{message}"):
        foreign.read(path, pool_format)


def test_broken_json_repeated_ids_small_pools_and_empty_files_are_named(tmp_path: Path) -> None:
    path = Path(write(tmp_path, SHEPHERD, SHEPHERD))
    with pytest.raises(ShepherdError, match=r'pool\.jsonl:2: id "a" was already on line 1'):
        foreign.read(str(path))
    with pytest.raises(
        ShepherdError, match=r'pool\.jsonl:1: "a" has 2 candidates, n is 3; give --n 2 or less'
    ):
        foreign.read(str(path), n=3)
    path.write_text('{"id": "a"\n')
    with pytest.raises(ShepherdError, match=r"pool\.jsonl:1: broken JSON"):
        foreign.read(str(path))
    path.write_text("\n")
    with pytest.raises(ShepherdError, match=r"pool\.jsonl: an empty pool, no lines"):
        foreign.read(str(path))
    with pytest.raises(ShepherdError, match="save it to a file first"):
        foreign.read("-")


def test_the_real_files_are_read_whole(foreign_data: Path) -> None:
    candidates = foreign_data / "candidates"
    subq = foreign.read(str(candidates / "subq_mistral_n13_200q.jsonl.gz"), "subq").pools
    assert len(subq) == 200
    assert {len(pool.candidates) for pool in subq} == {13}
    samples = foreign.read(str(foreign_data / "gsm8k" / "example_model_solutions.jsonl"), "openai-samples")
    assert len(samples.pools) == 1319
    assert [each.generator for each in samples.pools[0].candidates] == [
        "6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification",
    ]  # fmt: skip
