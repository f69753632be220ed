"""Where training rows come from: PRM800K's format, names of published sets, the cache of parsed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shepherd import hub
from shepherd.errors import ShepherdError
from verifier.config import TrainPrmConfig
from verifier.data import cache, rows, sources
from verifier.data.contaminated import check_questions, compare, refuse_contaminated
from verifier.data.parse import parse_line
from verifier.data.rows import read_rows


def rated(*ratings: int | None, chosen: int | None = 0, human: str | None = None) -> dict[str, Any]:
    return {
        "completions": [{"text": f"c{i} r{rating}", "rating": rating} for i, rating in enumerate(ratings)],
        "chosen_completion": chosen,
        "human_completion": None if human is None else {"text": human, "rating": None},
    }


def prm800k(*steps: dict[str, Any], reason: str = "found_error", **more: Any) -> dict[str, Any]:
    label = {"steps": list(steps), "finish_reason": reason}
    return {"question": {"problem": " Add. ", "ground_truth_answer": "4"}, "label": label, **more}


Shown = list[tuple[tuple[str, ...], tuple[float | None, ...]]]


@pytest.mark.parametrize(
    ("line", "expected", "noted"),
    [
        pytest.param(
            prm800k(rated(1), rated(1), rated(-1, chosen=None)),
            [(("c0 r1", "c0 r1", "c0 r-1"), (1.0, 1.0, 0.0))], (),
            id="phase 2: one completion a step, the last one wrong",
        ),
        pytest.param(
            prm800k(rated(-1, 1, 0, chosen=1), rated(1), reason="solution"),
            [(("c1 r1", "c0 r1"), (1.0, 1.0)), (("c0 r-1",), (0.0,)), (("c2 r0",), (1.0,))],
            ("neutral_ratings",),
            id="what was not chosen is a row of its own",
        ),
        pytest.param(
            prm800k(rated(1), rated(-1, -1, chosen=None, human="by hand"), rated(1)),
            [
                (("c0 r1", "by hand", "c0 r1"), (1.0, 1.0, 1.0)),
                (("c0 r1", "c0 r-1"), (None, 0.0)),
                (("c0 r1", "c1 r-1"), (None, 0.0)),
            ],
            ("human_completions",),
            id="a person wrote the step; no rating is counted twice",
        ),
        pytest.param(
            prm800k(rated(1), rated(-1, 0, chosen=None)),
            [(("c0 r1", "c0 r-1"), (1.0, 0.0)), (("c0 r1", "c1 r0"), (None, 1.0))], ("neutral_ratings",),
            id="a dead end with two completions",
        ),
        pytest.param(
            prm800k(rated(None), rated(1), reason="give_up", is_quality_control_question=True),
            [(("c0 rNone", "c0 r1"), (None, 1.0))],
            ("gave_up", "screening_questions", "unrated_completions"),
            id="no rating, no label",
        ),
        pytest.param(
            prm800k({"completions": None, "chosen_completion": None, "human_completion": {"text": "x"}}),
            [(("x",), (1.0,))], ("human_completions",), id="a human completion alone",
        ),
    ],
)  # fmt: skip
def test_prm800k_lines_become_rows(line: dict[str, Any], expected: Shown, noted: tuple[str, ...]) -> None:
    parsed = parse_line(line, "f", 1)
    assert [(each.row.steps, each.row.labels) for each in parsed] == expected
    assert {each.row.question for each in parsed} == {"Add."}
    assert tuple(sorted(parsed[0].oddities)) == noted
    assert all(not each.oddities for each in parsed[1:])


@pytest.mark.parametrize(("neutral", "label"), [("good", 1.0), ("bad", 0.0), ("null", None)])
def test_the_label_of_a_neutral_rating_is_a_choice(neutral: Any, label: float | None) -> None:
    (parsed,) = parse_line(prm800k(rated(1), rated(0)), "f", 1, neutral)
    assert parsed.row.labels == (1.0, label)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("bad_problem", prm800k(rated(1), reason="bad_problem")),
        ("no_labels", prm800k()),
        ("no_labels", prm800k(rated(None))),
        ("misfit_choice", prm800k(rated(1, chosen=3))),
        ("blank_step", prm800k({"completions": [{"text": " ", "rating": 1}], "chosen_completion": 0})),
    ],
)
def test_prm800k_lines_that_teach_nothing_are_counted(
    tmp_path: Path, kind: str, line: dict[str, Any]
) -> None:
    path = tmp_path / "prm.jsonl"
    path.write_text(json.dumps(prm800k(rated(1))) + "\n" + json.dumps(line) + "\n")
    found, counts = read_rows(str(path), on_bad_row="skip")
    assert (len(found), [(each.line, each.kind) for each in counts.skipped]) == (1, [(2, kind)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"question": {}, "label": {}}, 'no "problem" text in "question"'),
        ({"question": {"problem": "Add."}}, 'no "steps" list in "label"'),
        (prm800k(rated(2)), r"label.steps[0] has a rating 2, expected -1, 0, 1 or null"),
        (
            prm800k({"completions": [{"rating": 1}], "chosen_completion": 0}),
            'has a completion without "text"',
        ),
        (prm800k({"completions": 3}), 'has "completions" of 3, expected a list'),
        (prm800k(rated(1), 7), "label.steps[1] is not an object"),  # type: ignore[arg-type]
    ],
)
def test_broken_prm800k_lines_are_errors_with_their_line(line: dict[str, Any], said: str) -> None:
    with pytest.raises(ShepherdError) as caught:
        parse_line(line, "prm.jsonl", 9)
    assert str(caught.value).startswith("prm.jsonl:9: ")
    assert said in str(caught.value)


def test_names_stand_for_files_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(repository: str, patterns: tuple[str, ...], *, remedy: str) -> list[Path]:
        asked.append((repository, patterns))
        return [tmp_path / "file"]

    monkeypatch.setattr(sources, "fetch_files", fetch)
    for name in ("math-shepherd", "trl-stepwise", "prm800k", "someone/steps"):
        assert sources.locate(name) == [str(tmp_path / "file")]
    assert [repository for repository, _ in asked] == [
        "peiyi9979/Math-Shepherd", "trl-lib/math_shepherd", "tasksource/PRM800K", "someone/steps",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["rows.jsonl", "data/rows.jsonl", "./rows", "a/b/c", "typo"])
def test_a_file_that_is_not_there_asks_no_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "fetch_files", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(ShepherdError, match=f"^{name}: no such file; give a file of rows, embedded, "):
        sources.locate(name)


def test_without_a_hub_one_line_says_which_file_to_give(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def snapshot(*_: object, local_files_only: bool, **__: object) -> str:
        assert local_files_only
        raise huggingface_hub.errors.LocalEntryNotFoundError("not there\nat all")

    monkeypatch.setattr(hub, "unreachable", lambda: "HF_HUB_OFFLINE is set")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(ShepherdError) as caught:
        sources.locate("math-shepherd")
    said = str(caught.value)
    assert "\n" not in said
    for part in ("HF_HUB_OFFLINE is set", "download math-shepherd.jsonl", "shepherd train-prm --data FILE"):
        assert part in said


def test_files_of_the_cache_are_found_where_the_hub_is_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00002.parquet").write_bytes(b"")
    (tmp_path / "data" / "test-00000-of-00001.parquet").write_bytes(b"")
    monkeypatch.setattr(hub, "unreachable", lambda: "no network")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert [Path(each).name for each in sources.locate("trl-stepwise")] == ["train-00000-of-00002.parquet"]
    with pytest.raises(ShepherdError, match=r"phase2_train.jsonl"):
        sources.locate("prm800k")


def test_parquet_rows_are_read_as_lines_are(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    given = [{"prompt": "How?", "completions": ["a", "b"], "labels": [True, False]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given), tmp_path / "train.parquet")
    (row,), _ = read_rows(str(tmp_path / "train.parquet"))
    assert (row.question, row.steps, row.labels) == ("How?", ("a", "b"), (1.0, 0.0))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every file counts as large, and the cache is the test's own; one row in three is bad."""
    monkeypatch.setattr(rows, "LARGE_BYTES", 1)
    monkeypatch.setenv("SHEPHERD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    lines = []
    for n in range(30):
        labels: list[float | None] = [0.1 + 0.2, None] if n % 3 else [1.0]
        lines.append({"prompt": f"How {n % 7}?", "completions": [f"3 - {n} ½", "b"], "labels": labels})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_large_file_is_parsed_once(large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, counts = read_rows(str(large), on_bad_row="skip")
    assert (counts.read, len(first), len(counts.skipped)) == (30, 20, 10)
    monkeypatch.setattr(rows, "_parse_file", lambda *_: pytest.fail("parsed again"))
    again, kept = read_rows(str(large), on_bad_row="skip")
    assert again == first  # soft labels to the last digit, nulls, signs and all
    assert kept == counts
    with pytest.raises(ShepherdError, match=r"rows.jsonl:1: .*wrong_count"):
        read_rows(str(large))


def test_a_changed_file_or_parser_is_parsed_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.place_of(str(large), "good")
    assert cache.place_of(str(large), "bad") != before
    monkeypatch.setattr(cache, "PARSER_VERSION", cache.PARSER_VERSION + 1)
    assert cache.place_of(str(large), "good") != before
    monkeypatch.undo()
    large.write_text(large.read_text() + "\n")
    assert cache.place_of(str(large), "good").name != before.name


def test_a_broken_cache_is_passed_over_and_mended(large: Path) -> None:
    first, _ = read_rows(str(large), on_bad_row="skip")
    place = cache.place_of(str(large), "good")
    place.write_bytes(b"PAR1 cut short")
    assert read_rows(str(large), on_bad_row="skip")[0] == first
    assert cache.read(place) is not None


def test_a_cache_that_cannot_be_written_stops_nobody(large: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(read_rows(str(large), on_bad_row="skip")[0]) == 20


def test_a_reader_that_stops_leaves_no_half_cache(large: Path, tmp_path: Path) -> None:
    large.write_text(large.read_text() + "{broken\n")
    with pytest.raises(ShepherdError, match=r"rows.jsonl:31: broken JSON"):
        read_rows(str(large), on_bad_row="skip")
    assert list((tmp_path / "cache" / "rows").iterdir()) == []


def test_equal_questions_and_labels_are_one_object(large: Path) -> None:
    found, counts = read_rows(str(large), on_bad_row="skip")
    assert len({id(row.question) for row in found}) == len(counts.questions) == 7
    assert len({id(row.labels) for row in found}) == 1
    assert counts.questions["How 1?"] == 2


CONTAMINATED = {"Tom has 3 apples and buys 4 more. How many apples has he in all?": 12, "Who?": 1}


@pytest.fixture
def test_problems(tmp_path: Path) -> str:
    path = tmp_path / "test.jsonl"
    path.write_text(
        json.dumps(
            {
                "id": "1",
                "question": "TOM has 3 apples, and buys 4 more: how many apples has he in all",
                "answer": "7",
            }
        )
    )
    return str(path)


def test_evaluation_problems_in_training_data_are_refused(test_problems: str) -> None:
    config = TrainPrmConfig(data="rows.jsonl", evaluation_problems=(test_problems,))
    with pytest.raises(ShepherdError) as caught:
        refuse_contaminated(CONTAMINATED, config)
    said = str(caught.value)
    assert said.startswith("rows.jsonl:12: the question 'Tom has 3 apples")
    for part in (
        "1 of 2 training questions",
        "drop_contaminated=true",
        "allow_contamination=true",
        test_problems,
    ):
        assert part in said
    allowed = config.model_copy(update={"allow_contamination": True})
    assert refuse_contaminated(CONTAMINATED, allowed).contaminated == {next(iter(CONTAMINATED))}
    assert refuse_contaminated({"Who?": 1}, config).contaminated == frozenset()


def test_what_is_not_at_hand_is_noted_if_nobody_named_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    found = check_questions({"Who?": 1}, TrainPrmConfig(data="rows.jsonl"))
    assert list(found.lines()) == [
        "contamination: not checked against gsm8k: openai/gsm8k (test): not in the Hugging Face cache"
    ]
    with pytest.raises(ShepherdError, match="no such file or folder"):
        compare({"Who?": 1}, ["nothing.jsonl"])


def test_the_packaged_rows_are_clean_of_the_packaged_pool() -> None:
    _, counts = read_rows("embedded")
    found = refuse_contaminated(counts.questions, TrainPrmConfig())
    assert found.to_json()["against"]["embedded"]["questions"] == 100
    assert found.contaminated == frozenset()


def test_dropping_and_allowing_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        TrainPrmConfig(allow_contamination=True, drop_contaminated=True)
