"""Problems from every shape of file, folders and the hub; faults with file and line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shepherd import hub, problems
from shepherd.errors import ShepherdError
from shepherd.problems.files import read_objects
from shepherd.records import Problem


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            {"id": 7, "question": "How many?", "answer": 18.5, "source": "mine"},
            Problem("7", "How many?", "18.5", "mine"),
            id="shepherd",
        ),
        pytest.param(
            {"question": "How many?", "answer": "2 + 2 = <<2+2=4>>4\n#### 1,004"},
            Problem("gsm8k-1", "How many?", "1,004", "gsm8k"),
            id="gsm8k",
        ),
        pytest.param(
            {"ID": "chal-1", "Body": "Dan had 4 candies", "Question": "How many?", "Answer": 51.0},
            Problem("chal-1", "Dan had 4 candies. How many?", "51", "svamp"),
            id="svamp",
        ),
        pytest.param(
            {"Body": "Dan had 4 candies.", "Question": "How many?", "Answer": "0.5"},
            Problem("svamp-1", "Dan had 4 candies. How many?", "0.5", "svamp"),
            id="svamp without an id, with a full stop",
        ),
        pytest.param(
            {"input": "How many?", "target": 39},
            Problem("multiarith-1", "How many?", "39", "multiarith"),
            id="multiarith",
        ),
        pytest.param(
            {"problem": "Add.", "level": "Level 1", "solution": r"No \boxed{1}: \boxed{\frac{1}{2}}."},
            Problem("math-1", "Add.", r"\frac{1}{2}", "math"),
            id="math, the last box of the solution",
        ),
        pytest.param(
            {"problem": "Add.", "answer": "(3, 4)", "solution": r"\boxed{1}", "unique_id": "test/a/7.json"},
            Problem("test/a/7.json", "Add.", "(3, 4)", "math"),
            id="math with an answer field",
        ),
        pytest.param(
            {"problem": "Add.", "solution": r"cut off \boxed{3"},
            Problem("math-1", "Add.", None, "math"),
            id="no box",
        ),
    ],
)  # fmt: skip
def test_shapes_are_told_apart_by_their_fields(
    tmp_path: Path, row: dict[str, Any], expected: Problem
) -> None:
    assert problems.read(write(tmp_path / "rows.jsonl", row)) == [expected]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "How many?"}, "a row of no known shape (text); a problem has id, question and answer"),
        ({"question": "How many?", "answer": "4"}, 'no "id" field; a problem line needs'),
        ({"Body": "Dan had 4."}, 'no "Question" field; an SVAMP row has Body, Question and Answer'),
        ({"Body": 4, "Question": "?", "Answer": 1}, '"Body" must be text, found 4'),
        ({"target": 3}, 'no "input" field'),
        ({"problem": "Add."}, 'no "solution" nor "answer" field; a MATH row has problem and one of them'),
        ({"problem": ["Add."], "answer": "1"}, '"question" must be text'),
        ({"input": "How many?", "target": [3]}, '"answer" must be text, a number, or null'),
    ],
)
def test_what_has_no_shape_is_an_error_with_file_and_line(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "rows.jsonl", {"input": "How many?", "target": 1}, row)
    with pytest.raises(ShepherdError) as caught:
        problems.read(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert said in str(caught.value)


def test_a_json_list_is_read_with_the_line_each_object_begins_on(tmp_path: Path) -> None:
    path = tmp_path / "svamp.json"
    rows = [{"Body": f"Dan had {n}.", "Question": "How many?", "Answer": float(n)} for n in range(3)]
    path.write_text("\ufeff" + json.dumps(rows, indent=4), "utf-8")
    assert [line for line, _ in read_objects(path)] == [2, 7, 12]
    assert [each.answer for each in problems.read(str(path))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[\n{"a": 1},\n{"a": }]', ":3: broken JSON: Expecting value"),
        ('[\n{"a": 1}\n{"a": 2}]', ":3: broken JSON: expected a comma or ]"),
        ('[\n{"a": 1},\n7]', ":3: expected a JSON object in the list, found 7"),
        ('[\n{"a": 1}', ":2: broken JSON"),
        ("[" * 100_000, ":1: "),
    ],
)
def test_a_broken_list_is_an_error_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ShepherdError, match="^" + str(path)) as caught:
        list(read_objects(path))
    assert said in str(caught.value)


_rows = st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(), max_size=3)


@given(st.lists(_rows, max_size=4), st.sampled_from([None, 1, 4]))
def test_any_list_gives_its_objects(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "list.json"
    path.write_text(json.dumps(rows, indent=indent))
    assert [row for _, row in read_objects(path)] == rows


def test_a_folder_has_a_file_a_split(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    row = {"question": "How many?", "answer": "#### 1"}
    write(tmp_path / "test.jsonl", row)
    (tmp_path / "main").mkdir()
    table = pyarrow.Table.from_pylist([row, {"question": "Who?", "answer": "#### 2"}])
    pyarrow.parquet.write_table(table, tmp_path / "main" / "train-00000-of-00001.parquet")
    assert [each.answer for each in problems.read(str(tmp_path), "test")] == ["1"]
    assert [each.answer for each in problems.read(str(tmp_path), "train")] == ["1", "2"]
    assert problems.files_of(str(tmp_path), "test") == [tmp_path / "test.jsonl"]
    with pytest.raises(
        ShepherdError, match=r"no validation split; a folder of problems has validation.jsonl"
    ):
        problems.read(str(tmp_path), "validation")
    with pytest.raises(
        ShepherdError, match="no such file or folder; give a file of problems, a folder with test"
    ):
        problems.read(str(tmp_path / "nothing"))


def test_a_broken_parquet_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ShepherdError, match=r"test.parquet: cannot be read as Parquet: "):
        problems.read(str(tmp_path))


def test_the_packaged_pool_is_what_embedded_training_must_not_have_seen() -> None:
    assert len(problems.read_questions("embedded")) == 100


def test_questions_are_read_from_rows_that_lack_all_else(tmp_path: Path) -> None:
    path = write(
        tmp_path / "pool.jsonl", {"idx": 1, "question": "How many?"}, {"problem": "Add.", "steps": []}
    )
    assert problems.read_questions(path) == {"How many?": 1, "Add.": 2}


class _Hub:
    """A stand-in for `datasets`: what it was asked for, and rows or the error it has in store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
        import datasets

        self.asked: list[tuple[str, str, str, bool]] = []

        def load_dataset(repository: str, name: str, split: str) -> Iterator[dict[str, str]]:
            self.asked.append((repository, name, split, datasets.config.HF_HUB_OFFLINE))
            if isinstance(answer, Exception):
                raise answer
            return iter(answer)  # type: ignore[call-overload, no-any-return]

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")


def test_gsm8k_comes_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: None)
    asked = _Hub(monkeypatch, [{"question": "How many?", "answer": "2\n#### 72"}]).asked
    assert problems.read("gsm8k", "train") == [Problem("gsm8k-1", "How many?", "72", "gsm8k")]
    assert [each[:3] for each in asked] == [("openai/gsm8k", "main", "train")]


def test_without_a_hub_the_cache_is_asked_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, away: None
) -> None:
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    asked = _Hub(monkeypatch, [{"question": "How many?", "answer": "#### 7"}]).asked
    assert problems.read("gsm8k")[0].answer == "7"
    assert asked[0][3] is True
    assert before == datasets.config.HF_HUB_OFFLINE


def test_without_hub_and_cache_one_line_says_which_file_goes_where(
    monkeypatch: pytest.MonkeyPatch, away: None
) -> None:
    _Hub(monkeypatch, ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nand more"))
    with pytest.raises(ShepherdError) as caught:
        problems.read("gsm8k")
    said = str(caught.value)
    assert "\n" not in said
    for part in (
        "HF_HUB_OFFLINE is set",
        "put test.jsonl",
        "into a folder",
        "shepherd generate --problems FOLDER",
    ):
        assert part in said


def test_a_hub_that_answers_with_an_error_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: None)
    _Hub(
        monkeypatch, ValueError("Unknown split 'validation'. Should be one of ['train', 'test'].\ntraceback")
    )
    with pytest.raises(ShepherdError, match=r"Unknown split 'validation'.*put validation.jsonl") as caught:
        problems.read("gsm8k", "validation")
    assert "traceback" not in str(caught.value)


def test_what_only_looks_into_the_cache_imports_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with (
        hub.cache_alone(),
        pytest.raises(ShepherdError, match=r"openai/gsm8k \(test\): not in the Hugging Face cache"),
    ):
        problems.read_questions("gsm8k")


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            calls.append((url, timeout))
            raise TimeoutError

    hub._silence.cache_clear()
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    try:
        assert str(hub.unreachable()).startswith("no answer from https://") and hub.unreachable()
        assert [timeout for _, timeout in calls] == [hub.PROBE_S]
    finally:
        hub._silence.cache_clear()
