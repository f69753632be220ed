"""The server engine against a server on loopback: n candidates a prompt, whatever the server makes of n."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest

from generation.engines import Engine, Prompt, Sampling, StreamingEngine, load_engine, require_engine
from generation.engines.server import ServerEngine, read_choices, seed_of
from shepherd.endpoint_errors import BrokenAnswerError
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool, read_pool, write_pool
from shepherd.serving import ServerConfig

PROMPTS = [Prompt(f"p{i}", f"How many? {i}") for i in range(5)]
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=40, stop=("\n\n", "Question:"))
Connect = Callable[..., ServerEngine]


@pytest.fixture
def connect(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Engines on the fake endpoint, impatient, closed at the end."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    opened: list[ServerEngine] = []

    def open_one(**settings: Any) -> ServerEngine:
        impatient = {"base_url": endpoint.url, "retries": 2, "backoff_s": 0.001, "timeout_s": 20}
        opened.append(ServerEngine.connect("fake", ServerConfig(**{**impatient, **settings})))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def draws(prompt: Prompt, n: int, seed: int = 0, first: int = 0) -> list[str]:
    """What the fake server writes to a request of n candidates."""
    start = seed_of(seed, prompt.key, first)
    return [f"Step 1: draw {start + i} ки" for i in range(n)]


def texts_of(candidates: Sequence[Candidate]) -> list[str]:
    return [each.text for each in candidates]


def test_sixteen_candidates_of_each_prompt_in_order(endpoint: Any, connect: Connect) -> None:
    found = connect().generate(PROMPTS, 16, SAMPLING, seed=3)
    assert [texts_of(each) for each in found] == [draws(prompt, 16, 3) for prompt in PROMPTS]
    assert found[0][0] == Candidate(found[0][0].text, generator="fake", finish_reason="stop")
    assert len(endpoint.asked) == 5
    asked = next(each.body for each in endpoint.asked if each.body["prompt"] == "How many? 0")
    assert asked == {
        "model": "fake", "prompt": "How many? 0", "n": 16, "seed": seed_of(3, "p0", 0), "temperature": 0.7,
        "top_p": 0.9, "max_tokens": 40, "stop": ["\n\n", "Question:"], "logprobs": 1,
    }  # fmt: skip
    assert {each.path for each in endpoint.asked} == {"/v1/completions"}


def test_a_chat_sends_its_turns(endpoint: Any, connect: Connect) -> None:
    prompt = Prompt("p", "2 + 2?", chat=True, system="Be brief.", examples=(("1 + 1?", "2"),))
    (found,) = connect(logprobs=False).generate([prompt], 2, Sampling(), seed=0)
    assert texts_of(found) == draws(prompt, 2)
    (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert [turn["role"] for turn in asked.body["messages"]] == ["system", "user", "assistant", "user"]
    assert {"prompt", "logprobs", "stop"} & set(asked.body) == set()


def test_a_server_that_refuses_seeds_is_sent_none(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.reply = lambda asked: fake.Reply(body={"choices": [fake.choice(str(sorted(asked.body)))]})
    ((found,),) = connect(seeds=False, logprobs=False).generate(PROMPTS[:1], 1, Sampling(), seed=0)
    assert found.text == str(["max_tokens", "model", "n", "prompt", "temperature", "top_p"])


def test_later_candidates_of_a_prompt_are_others(connect: Connect) -> None:
    engine = connect()
    (found,) = engine.generate(PROMPTS[:1], 4, Sampling(), seed=0, first=8)
    assert texts_of(found) == draws(PROMPTS[0], 4, first=8)
    seeds = {seed_of(s, key, i) for s, key, i in itertools.product(range(4), ("a", "b", "\ud800"), range(9))}
    assert len(seeds) == 4 * 3 * 9
    assert all(0 <= each < 2**31 for each in seeds)


@pytest.mark.parametrize("cap", [1, 3, 15])
def test_a_server_that_gives_fewer_is_asked_for_the_rest(
    endpoint: Any, fake: ModuleType, connect: Connect, cap: int
) -> None:
    def capped(asked: Any) -> Any:
        asked.body["n"] = min(asked.body["n"], cap)
        return fake.complete(asked)

    endpoint.reply = capped
    engine = connect()
    expected = [
        [text for start in range(0, 16, cap) for text in draws(prompt, min(cap, 16 - start), first=start)]
        for prompt in PROMPTS
    ]
    for _ in range(2):  # the second time it knows what the server does
        found = engine.generate(PROMPTS, 16, Sampling(), seed=0)
        assert [texts_of(each) for each in found] == expected
    assert len({text for each in expected for text in each}) == 80


def test_a_server_that_ignores_n_is_then_asked_side_by_side(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    def one(asked: Any) -> Any:
        asked.body["n"] = 1
        return fake.complete(asked)

    endpoint.reply = one
    engine = connect()
    engine.generate(PROMPTS[:1], 4, Sampling(), seed=0)
    engine.generate(PROMPTS[:1], 4, Sampling(), seed=0)
    assert engine._one_at_a_time
    assert len(endpoint.asked) == 8


def test_max_n_cuts_a_problem_into_requests(endpoint: Any, connect: Connect) -> None:
    found = connect(max_n=3).generate(PROMPTS, 7, Sampling(), seed=0)
    assert sorted(each.body["n"] for each in endpoint.asked) == [1] * 5 + [3] * 10
    assert texts_of(found[4]) == [
        *draws(PROMPTS[4], 3), *draws(PROMPTS[4], 3, first=3), *draws(PROMPTS[4], 1, first=6)
    ]  # fmt: skip


def test_more_than_was_asked_for_is_dropped(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    def generous(asked: Any) -> Any:
        asked.body["n"] += 2
        return fake.complete(asked)

    endpoint.reply = generous
    found = connect().generate(PROMPTS, 3, Sampling(), seed=0)
    assert [texts_of(each) for each in found] == [draws(prompt, 3) for prompt in PROMPTS]


def test_no_choice_is_a_fault_that_may_pass(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.script = [fake.Reply(body={"choices": []}), fake.Reply(body={"choices": None})]
    (found,) = connect().generate(PROMPTS[:1], 3, Sampling(), seed=0)
    assert texts_of(found) == draws(PROMPTS[0], 3)
    endpoint.reply = lambda _: fake.Reply(body={"choices": []})
    with pytest.raises(
        ShepherdError, match=r'an answer without choices \(asked for problem "p0", 3 attempts\)'
    ):
        connect().generate(PROMPTS[:1], 3, Sampling(), seed=0)


def test_choices_are_taken_by_their_index(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    def shuffled(asked: Any) -> Any:
        reply = fake.complete(asked)
        reply.body["choices"].reverse()
        return reply

    endpoint.reply = shuffled
    (found,) = connect().generate(PROMPTS[:1], 4, Sampling(), seed=0)
    assert texts_of(found) == draws(PROMPTS[0], 4)


def test_choices_that_all_say_index_0_are_all_kept(fake: ModuleType) -> None:
    found = read_choices({"choices": [fake.choice("a"), fake.choice("b")]})
    assert [each.text for each in found] == ["a", "b"]


def test_what_came_before_an_error_is_streamed(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    def third_refused(asked: Any) -> Any:
        return fake.error(400, "no") if asked.body["prompt"].endswith("2") else fake.complete(asked)

    endpoint.reply = third_refused
    stream = connect().stream(PROMPTS, 3, Sampling(), seed=0)
    assert [texts_of(next(stream)), texts_of(next(stream))] == [draws(prompt, 3) for prompt in PROMPTS[:2]]
    with pytest.raises(ShepherdError, match='"p2"'):
        next(stream)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Step 1: 2 ки\n\nQuestion: and now", "Step 1: 2 ки"),
        ("Step 1: 2 Question: x \n\n", "Step 1: 2 "),
        ("\n\n", ""),
    ],
)
def test_a_stop_text_that_the_server_left_in_is_cut(
    endpoint: Any, fake: ModuleType, connect: Connect, text: str, kept: str
) -> None:
    given = fake.choice(text, finish_reason="length", logprobs={"token_logprobs": [-1.0, -2.0]})
    endpoint.reply = lambda _: fake.Reply(body={"choices": [given]})
    ((found,),) = connect().generate(PROMPTS[:1], 1, SAMPLING, seed=0)
    assert found == Candidate(kept, "fake", "stop", tokens=2, logprob=None)


@pytest.mark.parametrize(
    ("more", "usage", "expected"),
    [
        ({"logprobs": {"token_logprobs": [-0.5, -1.0, 0.0]}}, {}, (3, -0.5)),
        ({"logprobs": {"token_logprobs": [-1, -2.0, -9999.0]}}, {}, (3, -3334.0)),
        ({"logprobs": {"content": [{"logprob": -0.25}, {"logprob": -0.75}]}}, {}, (2, -0.5)),
        ({"logprobs": {"token_logprobs": [None, -1.0]}}, {"completion_tokens": 9}, (9, None)),
        ({"logprobs": {"token_logprobs": [-math.inf, -1.0]}}, {"completion_tokens": 9}, (2, None)),
        ({"logprobs": {"token_logprobs": []}}, {"completion_tokens": 9}, (9, None)),
        ({"logprobs": {"content": [{}]}}, {}, (None, None)),
        ({"logprobs": None}, {"completion_tokens": 9}, (9, None)),
        ({"logprobs": "yes"}, {"completion_tokens": "9"}, (None, None)),
        ({}, {"completion_tokens": -1}, (None, None)),
        ({}, None, (None, None)),
    ],
    ids=str,
)
def test_tokens_and_log_likelihoods_are_what_the_server_says_or_unknown(
    endpoint: Any,
    fake: ModuleType,
    connect: Connect,
    more: dict[str, Any],
    usage: Any,
    expected: tuple[int | None, float | None],
) -> None:
    endpoint.reply = lambda _: fake.Reply(body={"choices": [fake.choice("x", **more)], "usage": usage})
    ((found,),) = connect().generate(PROMPTS[:1], 1, Sampling(), seed=0)
    assert (found.tokens, found.logprob) == expected


def test_tokens_of_many_choices_are_not_guessed_from_their_sum(connect: Connect) -> None:
    (found,) = connect().generate(PROMPTS[:1], 2, Sampling(), seed=0)
    assert [each.tokens for each in found] == [None, None]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("stop", "stop"),
        ("eos_token", "stop"),
        ("length", "length"),
        ("content_filter", None),
        (None, None),
        ([], None),
    ],
)
def test_reasons_to_finish(fake: ModuleType, reason: object, kept: str | None) -> None:
    (found,) = read_choices({"choices": [fake.choice("x", finish_reason=reason)]})
    assert found.finish_reason == kept


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "without choices"),
        ({"choices": {"text": "x"}}, "without choices"),
        ({"choices": ["x"]}, "a choice that is no object"),
        ({"choices": [{"index": 0}]}, "has no text"),
        ({"choices": [{"message": None}]}, "has no content"),
        ({"choices": [{"message": {"role": "assistant"}}]}, "has no content"),
        ({"choices": [{"text": 5}]}, "whose text is no text"),
        ({"choices": [{"message": {"content": [1]}}]}, "whose content is no text"),
        ({"choices": [{"text": "x", "finish_reason": "abort"}]}, r"gave up \(abort\)"),
    ],
    ids=str,
)
def test_a_broken_choice_is_never_a_candidate(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokenAnswerError, match=said):
        read_choices(answer)


def test_a_chat_that_says_nothing_is_an_empty_solution(fake: ModuleType) -> None:
    (found,) = read_choices({"choices": [fake.choice(None, chat=True)]})
    assert found.text == ""


def test_hostile_texts_survive(endpoint: Any, fake: ModuleType, connect: Connect, tmp_path: Any) -> None:
    hostile = ["\0\x1b[31m\u202e", "half \ud800 pair", "x" * 3_000_000, "<b>ки</b>\r\n\u2028{", "\U0001f600"]
    endpoint.reply = lambda _: fake.Reply(
        body={"choices": [fake.choice(t, i) for i, t in enumerate(hostile)]}
    )
    (found,) = connect().generate(PROMPTS[:1], len(hostile), Sampling(), seed=0)
    assert texts_of(found) == hostile
    pool = ProblemPool(Problem("p", "?", "1"), tuple(found))
    write_pool(tmp_path / "pool.jsonl", [pool])
    (read,) = read_pool(tmp_path / "pool.jsonl")
    assert texts_of(read.candidates) == [text.replace("\ud800", "\ufffd") for text in hostile]


def test_a_hostile_id_does_not_reach_the_terminal(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.reply = lambda _: fake.error(400, "no")
    with pytest.raises(ShepherdError, match=r'\(asked for problem "a b"\)'):
        connect().generate([Prompt("a\x1b[31m\nb", "?")], 1, Sampling(), seed=0)


def test_it_is_an_engine_like_the_others(endpoint: Any) -> None:
    require_engine("server")
    engine: Engine = load_engine("server", "fake", server=ServerConfig(base_url=endpoint.url))
    assert isinstance(engine, StreamingEngine)
    assert engine.name == "fake"
    assert len(engine.generate(PROMPTS, 2, Sampling(), 0)) == 5
    assert engine.generate([], 2, Sampling(), 0) == []
    engine.close()
