"""Files of pairs and of unions: what is written can be read, and a bad edit is named by its line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.pairs.config import UnionConfig
from generation.pairs.files import read_pairs, write_pairs
from generation.pairs.pair import Pair, Side
from generation.pairs.union import Union, aggregate, check_hash, read_union, weight_of, write_union
from shepherd.errors import ShepherdError

OURS = Pair(
    "2 + 2?",
    Side(" 2 + 2 = 4 The answer is: 4", True, "round-1/p/0", 0.9),
    Side(" 2 + 2 = 5 The answer is: 5", False, "round-1/p/1", 0.1),
    "p", 1, "v1", "best_worst by min",
)  # fmt: skip
CHAT = replace(OURS, prompt=(("system", "Add."), ("user", "2 + 2?"), ("assistant", "First, ки\n")))

HOSTILE = st.text(max_size=20).map("x{}".format) | st.sampled_from(
    ["<script>x</script>\x00", '"},{"\u2028', "\u202ex\r\n", "x\x1b[2J"]
)
NAMES = st.text(max_size=5)
pairs = st.builds(
    lambda prompt, texts, ends, scores, candidate, number, names: Pair(
        prompt,
        Side(texts[0], ends[0], candidate, scores[0]),
        Side(texts[1], ends[1], candidate + "'", scores[1]),
        names[0],
        number,
        names[1],
        names[2],
    ),
    HOSTILE
    | st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), HOSTILE), min_size=1).map(tuple),
    st.lists(HOSTILE, min_size=2, max_size=2, unique=True),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(*[st.none() | st.floats(0, 1)] * 2),
    NAMES,
    st.integers(0, 9),
    st.tuples(*[NAMES] * 3),
)


@settings(max_examples=30)
@given(st.lists(pairs, min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, made: list[Pair]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(path, made)
    assert read_pairs(path) == made
    assert [pair.key for pair in read_pairs(path)] == [pair.key for pair in made]
    assert path.read_bytes().count(b"\n") == len(made)


def test_a_compressed_file_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_pairs(tmp_path / name, [OURS, CHAT])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert read_pairs(tmp_path / "a.jsonl.gz") == [OURS, CHAT]


def test_rows_of_trl_alone_are_read(tmp_path: Path) -> None:
    path = tmp_path / "trl.jsonl"
    turn = {"role": "assistant", "content": "4"}
    rows: list[dict[str, Any]] = [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "score_chosen": 9, "round": None},
        {
            "prompt": [{"role": "user", "content": "2 + 2?"}],
            "chosen": [turn],
            "rejected": [{**turn, "content": "5"}],
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_pairs(path) == [
        Pair("2 + 2?", Side("4"), Side("5")),
        Pair((("user", "2 + 2?"),), Side("4"), Side("5")),
    ]


TURN = [{"role": "assistant", "content": "x"}]
NEEDS = "a pair needs prompt, chosen and rejected"


@pytest.mark.parametrize(
    ("pair", "changed", "message"),
    [
        (OURS, {"prompt": ...}, f'no "prompt" field; {NEEDS}'),
        (OURS, {"rejected": ...}, f'no "rejected" field; {NEEDS}'),
        (OURS, {"prompt": None}, '"prompt" must be text, found None'),
        (OURS, {"prompt": " "}, '"prompt" is empty'),
        (OURS, {"prompt": []}, '"prompt" has no turns'),
        (OURS, {"chosen": OURS.rejected.text}, '"chosen" and "rejected" are the same text'),
        (OURS, {"chosen": ""}, '"chosen" is empty'),
        (OURS, {"rejected": " ки\n ки"}, '"rejected" is empty: blanks and step tags alone'),
        (OURS, {"chosen": 4}, '"chosen" must be text, found 4'),
        (OURS, {"chosen": TURN}, '"prompt" is a text and "chosen" a list'),
        (OURS, {"prompt": CHAT.to_json()["prompt"]}, '"prompt" is a list of turns and "chosen" is none'),
        (CHAT, {"prompt": "2 + 2?"}, '"prompt" is a text and "chosen" a list'),
        (CHAT, {"chosen": TURN * 2}, '"chosen" must be one turn of the assistant, found 2 turns'),
        (CHAT, {"rejected": []}, '"rejected" must be one turn of the assistant, found 0 turns'),
        (
            CHAT,
            {"chosen": [{"role": "user", "content": "x"}]},
            "chosen[0].role must be assistant, found user",
        ),
        (
            CHAT,
            {"chosen": [{"role": "robot", "content": "x"}]},
            "chosen[0].role must be system, user, assistant",
        ),
        (CHAT, {"chosen": [{"role": [], "content": "x"}]}, "chosen[0].role must be"),
        (CHAT, {"prompt": ["hello"]}, "prompt[0] must be"),
        (CHAT, {"prompt": [{"role": "user"}]}, "prompt[0] must be"),
        (CHAT, {"prompt": [{"role": "user", "content": ""}]}, "prompt[0].content is empty"),
        (
            CHAT,
            {"prompt": [{"role": "user", "content": [{"type": "text"}]}]},
            '"prompt[0].content" must be text',
        ),
        (OURS, {"chosen_score": 1.5}, '"chosen_score" must be in [0, 1] or null, found 1.5'),
        (OURS, {"chosen_score": "high"}, "\"chosen_score\" must be in [0, 1] or null, found 'high'"),
        (OURS, {"rejected_score": True}, '"rejected_score" must be in [0, 1] or null, found True'),
        (OURS, {"rejected_score": float("nan")}, '"rejected_score" must be in [0, 1] or null, found nan'),
        (OURS, {"rejected_score": 10**400}, '"rejected_score" must be in [0, 1] or null, found 1000'),
        (OURS, {"chosen_ends": "yes"}, "\"chosen_ends\" must be true or false, found 'yes'"),
        (OURS, {"rejected_candidate": "round-1/p/0"}, "both sides are candidate 'round-1/p/0'"),
        (OURS, {"rejected_candidate": 1}, '"rejected_candidate" must be text, found 1'),
        (OURS, {"round": -1}, '"round" must be a whole number from 0 on, found -1'),
        (OURS, {"round": 1.5}, '"round" must be a whole number from 0 on, found 1.5'),
        (OURS, {"problem": ["p"]}, "\"problem\" must be text, found ['p']"),
        (OURS, {"schema_version": 99}, "schema_version 99 is newer"),
    ],
)
def test_a_row_that_was_edited_badly_is_named(
    tmp_path: Path, pair: Pair, changed: dict[str, Any], message: str
) -> None:
    row = {key: value for key, value in {**pair.to_json(), **changed}.items() if value is not ...}
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(OURS.to_json())}\n\n{json.dumps(row)}\n")
    with pytest.raises(ShepherdError) as error:
        read_pairs(path)
    assert str(error.value).startswith(f"{path}:3: {message}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_empty_broken_or_absent_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(ShepherdError, match=r"pairs\.jsonl: No such file"):
        read_pairs(path)
    path.write_text("\n")
    with pytest.raises(ShepherdError, match=r"pairs\.jsonl: no lines; a file of pairs"):
        read_pairs(path)
    with pytest.raises(ShepherdError, match=r"pairs\.jsonl: no lines; a union"):
        read_union(path)
    path.write_text('{"prompt": "2')
    with pytest.raises(ShepherdError, match=r"pairs\.jsonl:1: broken JSON"):
        read_pairs(path)


def test_half_a_surrogate_becomes_a_replacement(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "2 + 2?", "chosen": "4\\ud800", "rejected": "5"}')
    (pair,) = read_pairs(path)
    assert pair.chosen.text == "4�"
    write_pairs(path, [pair])
    assert read_pairs(path) == [pair]


def test_the_key_is_what_is_learnt_and_nothing_else() -> None:
    told = {"problem": "q", "round": 7, "verifier": "v2", "why": "steps"}
    assert replace(OURS, **told).key == OURS.key  # type: ignore[arg-type]
    scored = replace(OURS, chosen=replace(OURS.chosen, score=0.3, candidate="round-2/p/9"))
    assert scored.key == OURS.key
    others = [
        replace(OURS, prompt="2 + 3?"),
        replace(OURS, chosen=replace(OURS.chosen, text=" 4")),
        replace(OURS, chosen=replace(OURS.chosen, ends=False)),
        replace(OURS, chosen=OURS.rejected, rejected=OURS.chosen),
        CHAT,
    ]
    assert len({each.key for each in [OURS, *others]}) == 6


def pair(name: str, number: int = 0) -> Pair:
    return Pair("2 + 2?", Side(f" {name}"), Side(" 5"), round=number)


rounds = st.lists(st.lists(st.sampled_from("abcdef").map(pair), max_size=5), max_size=4)
unions = st.builds(UnionConfig, decay=st.sampled_from([1.0, 0.5])) | st.builds(
    UnionConfig, weights=st.dictionaries(st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0, 2.5]))
)


@given(rounds, unions)
def test_a_union_is_each_pair_once_in_the_order_of_the_rounds(
    made: list[list[Pair]], config: UnionConfig
) -> None:
    union = aggregate(made, config)
    weights = {number: weight_of(number, len(made), config) for number in range(1, len(made) + 1)}
    listed = [(each, weights[number]) for number, batch in enumerate(made, 1) for each in batch]
    kept = [(each, weight) for each, weight in listed if weight]
    assert list(union.pairs) == list(dict.fromkeys(each for each, _ in kept))
    assert union.left_out == len(listed) - len(kept)
    assert union.duplicates == len(kept) - len(union.pairs)
    for each, weight in zip(union.pairs, union.weights, strict=True):
        assert weight == max(found for other, found in kept if other.key == each.key)


@given(rounds)
def test_a_union_with_itself_is_itself(made: list[list[Pair]]) -> None:
    union = aggregate(made, UnionConfig())
    again = aggregate([union.pairs, union.pairs], UnionConfig())
    assert again == union
    assert again.hash == union.hash
    assert set(union.weights) <= {1.0}


@given(rounds, unions)
def test_without_dagger_the_last_round_is_all(made: list[list[Pair]], config: UnionConfig) -> None:
    alone = aggregate(made, config, dagger=False)
    last = made[-1] if made else []
    assert set(alone.pairs) == (set(last) if weight_of(len(made), len(made), config) else set())


def test_the_first_round_that_made_a_pair_is_told() -> None:
    union = aggregate([[pair("a", 1)], [pair("a", 2), pair("b", 2)]], UnionConfig(decay=0.5))
    assert [each.round for each in union.pairs] == [1, 2]
    assert (union.weights, union.duplicates) == ((1.0, 1.0), 1)


def test_the_hash_is_of_what_is_learnt_and_in_which_order() -> None:
    a, b = pair("a"), pair("b")
    union = Union((a, b), (1.0, 1.0))
    assert Union((replace(a, round=3, why="steps"), b), (1.0, 1.0), duplicates=4).hash == union.hash
    others = [Union((b, a), (1.0, 1.0)), Union((a, b), (1.0, 0.5)), Union((a,), (1.0,)), Union((), ())]
    assert len({each.hash for each in [union, *others]}) == 5


@given(rounds, unions)
def test_a_union_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, made: list[list[Pair]], config: UnionConfig
) -> None:
    union = aggregate(made, config)
    path = tmp_path_factory.mktemp("union") / "union.jsonl"
    write_union(path, union)
    if union.pairs:
        assert read_union(path) == union == check_hash(path, union.hash)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"weight": 0.5', '"weight": 0.6', "the union has changed since it was learnt from (hash "),
        (" a", " A", "the union has changed since it was learnt from (hash "),
        ('"weight": 0.5', '"weight": 0', ':1: "weight" must be a number above 0, found 0'),
        ('"weight": 0.5', '"weight": NaN', ':1: "weight" must be a number above 0, found nan'),
        ('"weight": 0.5', '"weight": true', ':1: "weight" must be a number above 0, found True'),
        ('"weight": 0.5', '"heft": 0.5', ':1: "weight" must be a number above 0, found None'),
        (" b", " a", ":2: this pair was already on line 1"),
        (' b"', ' 5"', ':2: "chosen" and "rejected" are the same text'),
    ],
)
def test_a_union_that_was_touched_is_not_learnt_from(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    union = aggregate([[pair("a")], [pair("b")]], UnionConfig(decay=0.5))
    path = tmp_path / "union.jsonl"
    write_union(path, union)
    check_hash(path, union.hash)
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    with pytest.raises(ShepherdError) as error:
        check_hash(path, union.hash)
    assert str(error.value).removeprefix(str(path)).removeprefix(": ").startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decay": 0}, "greater than 0"),
        ({"decay": 1.1}, "less than or equal to 1"),
        ({"weights": {0: 1}}, "rounds are counted from 1"),
        ({"weights": {1: -1}}, "round 1: a weight must be in"),
        ({"weights": {1: float("nan")}}, "round 1: a weight must be in"),
        ({"decay": 0.5, "weights": {1: 1}}, "give one of them"),
        ({"weights": "heavy"}, "equal"),
    ],
)
def test_weights_that_are_none_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnionConfig(**values)
