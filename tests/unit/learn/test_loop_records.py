"""Records of rounds: read back as they were written, refused where they are not, and as a table."""

import csv
from pathlib import Path

import pytest

from generation.learn.loop.config import DpoLoopConfig
from generation.learn.loop.record import Round, best_round, kept_round, read_rounds, write_csv
from generation.learn.loop.watches import Watched
from shepherd.errors import ShepherdError
from shepherd.files import write_jsonl


def a_round(number: int, greedy: float = 0.5, solved: str = "1") -> Round:
    return Round(
        round=number,
        policy=f"p{number}",
        reference="" if number == 0 else "p0",
        rollouts=0 if number == 0 else 64,
        rollout_pass_at_1=None if number == 0 else 0.5,
        pairs=8 * bool(number),
        dropped={"margin": 3, "outcome": 1} if number else {},
        pairs_sha256="",
        union=8 * number,
        union_hash=f"u{number}",
        update={"steps": 4, "start": "p0"} if number else {},
        validation={
            "problems": 20,
            "n": 4,
            "greedy": {"accuracy": greedy, "ci95": [0.4, 0.6]},
            "answered": 1.0,
        },
        solved=[int(each) for each in solved],
        against_first={"greedy": {"difference": 0.1, "ci95": [0.0, 0.2], "p": 0.1}} if number else {},
        watched=Watched(kl=0.01 * number, answered=1.0),
        alarms=["too much"] if number == 2 else [],
        seconds={"update": 1.25},
    )


def test_rounds_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rounds = [a_round(each) for each in range(3)]
    write_jsonl(tmp_path / "rounds.jsonl", [each.to_json() for each in rounds])
    assert read_rounds(tmp_path / "rounds.jsonl") == rounds
    assert read_rounds(tmp_path / "none.jsonl") == []


def test_a_line_that_is_none_or_out_of_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    write_jsonl(path, [a_round(0).to_json(), a_round(2).to_json()])
    with pytest.raises(ShepherdError, match=r"rounds.jsonl:2: holds round 2, and round 1 belongs there"):
        read_rounds(path)
    write_jsonl(path, [{"round": 0}])
    with pytest.raises(ShepherdError, match=r'rounds.jsonl:1: no "policy" field'):
        read_rounds(path)


def test_the_best_round_is_the_earliest_of_equal_ones() -> None:
    assert best_round([a_round(0, 0.5), a_round(1, 0.7), a_round(2, 0.7)]).round == 1
    assert best_round([a_round(0, 0.7), a_round(1, 0.7)]).round == 0


def _rounds(*solved: str) -> list[Round]:
    return [a_round(at, each.count("1") / len(each), each) for at, each in enumerate(solved)]


NONE, HALF = "0" * 20, "1" * 10 + "0" * 10


@pytest.mark.parametrize(
    ("solved", "kept"),
    [
        ((NONE, HALF, "00" + HALF[2:10] + "1" + "0" * 9), 2),  # 0.05 behind, a standard error of 0.086
        ((NONE, HALF, "0" + HALF[:-1]), 2),  # one lost, one won
        ((NONE, HALF, "00" + HALF[2:]), 1),  # 2 behind: 0.1, and a standard error of 0.067
        ((NONE, HALF, "000" + HALF[3:], HALF[::-1]), 3),  # the latest, though one between is behind
        ((HALF, HALF, HALF), 0),  # nothing beats round 0
        (("1" * 9 + "0" * 11, HALF, "1" * 9 + "0" * 11), 1),  # within the error, and no better than round 0
    ],
)
def test_the_latest_round_that_may_be_the_best_is_kept(solved: tuple[str, ...], kept: int) -> None:
    assert kept_round(_rounds(*solved), DpoLoopConfig()).round == kept


@pytest.mark.parametrize(("start", "kept"), [("initial", 1), ("previous", 2)])
def test_without_aggregation_a_later_round_has_learnt_more_only_if_it_went_on(start: str, kept: int) -> None:
    config = DpoLoopConfig.model_validate({"dagger": False, "start": start})
    assert kept_round(_rounds(NONE, HALF, "0" + HALF[:-1]), config).round == kept


def test_the_table_has_every_number_under_a_plain_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "rounds.csv", [a_round(each) for each in range(3)])
    with (tmp_path / "rounds.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["round"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["greedy_minus_round_0"] == ""
    assert float(rows[2]["greedy_minus_round_0"]) == 0.1
    assert rows[2]["dropped"] == "4" and rows[2]["alarms"] == "1" and rows[2]["update_steps"] == "4"
    assert float(rows[2]["kl"]) == 0.02 and float(rows[1]["validation_greedy"]) == 0.5
    assert float(rows[1]["seconds_update"]) == 1.2
