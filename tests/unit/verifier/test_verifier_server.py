"""The server scorer against a pooling server on loopback that knows what each token is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from shepherd.errors import ShepherdError
from shepherd.serving import ServerConfig
from verifier.engines.server import ServerReader
from verifier.scoring import ScoringCounts, Verifier
from verifier.tags import EncodedSolution

TAG = 9
ITEMS = [
    ("a?", ["Step 1: one ки\nStep 2: three ки", " \n", "Step 1: one ки"]),
    ("b?", ["", "Step 1: one ки\nStep 2: three ки\nStep 3: two ки"]),
]
Connect = Callable[..., Verifier]


def encode(pairs: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
    """A token a letter of the question, then a token a step (its length) and its tag; one token after all."""
    for question, steps in pairs:
        ids = [100 + ord(letter) for letter in question]
        tags = []
        for step in steps:
            ids += [len(step), TAG]
            tags.append(len(ids) - 1)
        yield EncodedSolution(np.array([*ids, 5], np.int32), np.array(tags, np.int32))


def worth(ids: Sequence[int], at: int) -> float:
    """P(good) at a position, by the two tokens before it."""
    return (sum(ids[max(0, at - 2) : at]) % 97 + 1) / 100


def pool(asked: Any, fake: ModuleType, positions: str = "step", activation: bool = True, **more: Any) -> Any:
    """A pooling server as vLLM's: a row wherever the tag's token stands, or everywhere."""
    if asked.path == "/v1/models":
        return fake.Reply(body={"data": [{"id": "other", "max_model_len": 1}, {"id": "prm", **more}]})
    data = []
    for index, ids in enumerate(asked.body["input"]):
        at = [i for i, token in enumerate(ids) if token == TAG or positions == "all"]
        good = [worth(ids, i) for i in at]
        rows = [[p, 1 - p] if activation else [math.log(p), math.log(1 - p)] for p in good]
        data.append({"index": index, "object": "pooling", "data": rows})
    return fake.Reply(body={"object": "list", "model": "prm", "data": data[::-1]})


def expected(items: Sequence[tuple[str, Sequence[str]]]) -> list[list[list[float]]]:
    from shepherd.steps import split

    found = []
    for question, texts in items:
        encoded = encode([(question, split(text).steps) for text in texts])
        found.append([[worth(each.ids.tolist(), at) for at in each.tags] for each in encoded])
    return found


@pytest.fixture
def connect(endpoint: Any, fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Scorers on the fake endpoint, impatient, closed at the end."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    endpoint.reply = lambda asked: pool(asked, fake)
    opened: list[Verifier] = []

    def open_one(**settings: Any) -> Verifier:
        config = ServerConfig(base_url=endpoint.url, retries=1, backoff_s=0.001, timeout_s=20)
        opened.append(Verifier(ServerReader(config, "prm", **settings), encode, "abc123", "mine"))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def assert_close(found: list[list[list[float]]], wanted: list[list[list[float]]]) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        for scores, others in zip(mine, theirs, strict=True):
            assert scores == pytest.approx(others, abs=1e-7)


def test_scores_of_every_step_in_order(endpoint: Any, connect: Connect) -> None:
    verifier = connect()
    found = verifier.score_many(ITEMS)
    assert_close(found, expected(ITEMS))
    assert verifier.counts == ScoringCounts(
        solutions=5, steps=6, tokens=12 + 15, solutions_without_steps=2, steps_beyond_context=0
    )
    assert (verifier.id, verifier.name) == ("abc123", "mine")
    (asked,) = endpoint.sent_to("/pooling")
    assert asked.path == "/pooling"  # beside /v1, not in it
    assert {key: value for key, value in asked.body.items() if key != "input"} == {
        "model": "prm", "task": "token_classify", "use_activation": True, "encoding_format": "float"
    }  # fmt: skip
    assert all(ids[-1] == TAG for ids in asked.body["input"])  # what follows the last tag is not sent
    assert verifier.score(*ITEMS[1]) == found[1]
    assert len(endpoint.sent_to("/models")) == 1


@pytest.mark.parametrize("batch_tokens", [1, 12, 20, 10_000])
def test_requests_are_cut_by_tokens_and_repeated_texts_read_once(
    endpoint: Any, connect: Connect, batch_tokens: int
) -> None:
    items = [(question, [*texts, *texts]) for question, texts in ITEMS] * 3
    found = connect().score_many(items, batch_tokens)
    assert_close(found, expected(items))
    sent = [ids for each in endpoint.sent_to("/pooling") for ids in each.body["input"]]
    assert len(sent) == 3
    for asked in endpoint.sent_to("/pooling"):
        assert len(asked.body["input"]) == 1 or sum(map(len, asked.body["input"])) <= batch_tokens


def test_rows_of_every_token_and_logits_give_the_same(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    endpoint.reply = lambda asked: pool(asked, fake, positions="all")
    assert_close(connect(positions="all").score_many(ITEMS), expected(ITEMS))
    endpoint.reply = lambda asked: pool(asked, fake, activation=False)
    assert_close(connect(activation="logits").score_many(ITEMS), expected(ITEMS))
    assert endpoint.sent_to("/pooling")[-1].body["use_activation"] is False
    other = connect(activation="logits", good=1).score_many(ITEMS)
    assert_close(other, [[[1 - p for p in scores] for scores in each] for each in expected(ITEMS)])


def test_extreme_logits_are_0_and_1(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    rows = [[-1e30, 1e30], [1e30, -1e30]]
    endpoint.script = [fake.Reply(body={"data": [{"id": "prm"}]})]
    endpoint.reply = lambda _: fake.Reply(body={"data": [{"index": 0, "data": rows}]})
    assert connect(activation="logits").score(*("a?", ITEMS[0][1][:1])) == [[0.0, 1.0]]


def test_the_tags_token_inside_a_word_is_no_step(endpoint: Any, connect: Connect) -> None:
    verifier = connect()
    solution = EncodedSolution(np.array([1, TAG, 2, TAG, TAG, 3, TAG], np.int32), np.array([3, 6], np.int32))
    verifier.encode = lambda _: iter([solution])
    ids = solution.ids.tolist()
    assert verifier.score("a?", ["Step 1: x ки"])[0] == pytest.approx([worth(ids, 3), worth(ids, 6)])


def test_steps_beyond_the_servers_context_score_0_and_are_counted(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    endpoint.reply = lambda asked: pool(asked, fake, max_model_len=5)
    verifier = connect()
    found = verifier.score_many(ITEMS)
    wanted = expected(ITEMS)
    for scores in (wanted[0][0], wanted[1][1]):
        scores[1:] = [0.0] * len(scores[1:])  # tags stand at 3, 5, 7
    assert_close(found, wanted)
    assert verifier.counts.steps_beyond_context == 3
    assert all(len(ids) <= 5 for each in endpoint.sent_to("/pooling") for ids in each.body["input"])


def test_solutions_without_steps_ask_nothing(endpoint: Any, connect: Connect) -> None:
    verifier = connect()
    assert verifier.score_many([("a?", ["", " "]), ("b?", [])]) == [[[], []], []]
    assert verifier.score_many([]) == []
    assert endpoint.sent_to("/pooling") == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0.5, 0.5]], "1 rows for a solution of 2 steps and 6 tokens, expected 2; .* pooling_type STEP"),
        ([[0.5, 0.5]] * 6, "6 rows for a solution of 2 steps"),
        ("AAAA", "no rows for a solution"),
        ([[0.5, 0.5], [0.5]], r"a row \[0\.5\], expected two finite numbers"),
        ([[0.5, 0.5], [0.5, None]], r"a row \[0\.5, None\], expected two finite numbers"),
        ([[0.5, 0.5], [0.5, math.nan]], r"a row \[0\.5, nan\], expected two finite numbers"),
        ([[0.5, 0.5], [0.1] * 128], r"a row \[0\.1, .* expected two finite numbers"),
        ([0.5, 0.5], "a row 0.5, expected two finite numbers"),
        (
            [[0.5, 0.5], [1.2, -0.2]],
            ".* expected probabilities of good and bad; this server returns something else",
        ),
        ([[0.5, 0.5], [0.9, 0.9]], ".* expected probabilities"),
        ([[0.5, 0.5], [-3.1, 2.2]], ".* expected probabilities"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit_are_never_scores(
    endpoint: Any, fake: ModuleType, connect: Connect, rows: Any, said: str
) -> None:
    endpoint.script = [fake.Reply(body={"data": [{"id": "prm"}]})]
    endpoint.reply = lambda _: fake.Reply(body={"data": [{"index": 0, "data": rows}]})
    with pytest.raises(ShepherdError, match=rf"^http://127\.0\.0\.1:\d+/pooling: {said}"):
        connect().score("a?", ITEMS[0][1][:1])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": [5]},
        {"data": []},
        {"data": [{"index": 0}, {"index": 0}]},
        {"data": [{"index": 1}]},
    ],
    ids=str,
)
def test_an_answer_for_other_solutions_is_asked_again(
    endpoint: Any, fake: ModuleType, connect: Connect, body: dict[str, Any]
) -> None:
    verifier = connect()
    wanted = verifier.score_many(ITEMS)
    endpoint.script = [fake.Reply(body=body)]
    assert verifier.score_many(ITEMS) == wanted
    endpoint.reply = lambda _: fake.Reply(body=body)
    with pytest.raises(ShepherdError, match=r"asked for 3 solutions, 2 attempts"):
        verifier.score_many(ITEMS)
