"""The HTTP client against a real server on loopback that fails in every way it is told to."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from shepherd.endpoint import Endpoint
from shepherd.endpoint_errors import BrokenAnswerError, asked_pause_s
from shepherd.errors import ShepherdError
from shepherd.serving import ServerConfig

KEY = "sk-secret-0123456789"
Connect = Callable[..., Endpoint]


@pytest.fixture
def connect(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Clients of the fake endpoint, impatient, closed at the end."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    opened: list[Endpoint] = []

    def open_one(**settings: Any) -> Endpoint:
        impatient = {"base_url": endpoint.url, "retries": 2, "backoff_s": 0.001, "timeout_s": 20}
        opened.append(Endpoint(ServerConfig(**{**impatient, **settings})))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def job(client: Endpoint, seed: int = 7, read: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """One completion; its texts unless something else is to be read."""
    url = f"{client.config.base_url}/completions"
    body = {"model": "fake", "prompt": "?", "n": 1, "seed": seed}
    return partial(client.ask, url, body, read or texts, f'problem "p{seed}"')


def texts(answer: dict[str, Any]) -> list[str]:
    return [each["text"] for each in answer["choices"]]


def ask(client: Endpoint) -> list[str]:
    (found,) = client.run([job(client)])
    return list(found)


DRAW_7 = ["Step 1: draw 7 ки"]


def test_results_come_in_order_and_so_many_requests_are_under_way(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    together = threading.Barrier(3, timeout=20)  # three at once, or the test fails

    def slowly(asked: Any) -> Any:
        together.wait()
        return fake.complete(asked)

    endpoint.reply = slowly
    client = connect(concurrency=3)
    found = list(client.run([job(client, seed) for seed in range(30)]))
    assert found == [[f"Step 1: draw {seed} ки"] for seed in range(30)]
    assert endpoint.most_under_way == 3


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "body": b"<html>boom</html>"},
        {"status": 503, "body": {"error": {"message": "loading"}}},
        {"status": 429, "body": {"detail": "slow down"}},
        {"status": 408, "body": {}},
        {"status": 409, "body": {}},
        {"body": b'{"choices": [{"text": "half', "cut": 14},
        {"body": b'{"choices": [{"te'},
        {"body": b"\xff\xfe"},
        {"body": b"[" * 100_000},
        {"body": b"[1]"},
        {"body": b""},
        {"drop": True},
        {"reset": True},
    ],
    ids=str,
)
def test_what_passes_is_asked_again(
    endpoint: Any, fake: ModuleType, connect: Connect, fault: dict[str, Any]
) -> None:
    endpoint.script = [fake.Reply(**fault), fake.Reply(**fault)]
    assert ask(connect()) == DRAW_7
    assert len(endpoint.asked) == 3
    assert endpoint.asked[0].body == endpoint.asked[2].body


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 500, "body": b"<html>\x1b[31mboom</html>"}, "HTTP 500: <html>boom</html>"),
        ({"status": 502, "body": {"error": "x" * 999}}, "HTTP 502: " + "x" * 199 + "…"),
        ({"status": 504, "body": b""}, "HTTP 504: no reason given"),
        ({"body": b'{"choices": [{"text": "half', "cut": 14}, "peer closed connection"),
        ({"body": b"<html>"}, "an answer that is no JSON: <html>"),
        ({"body": b""}, "an answer that is no JSON: nothing at all"),
        ({"drop": True}, "Server disconnected"),
        ({"reset": True}, "ReadError"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_one_line(
    endpoint: Any, fake: ModuleType, connect: Connect, fault: dict[str, Any], said: str
) -> None:
    endpoint.reply = lambda _: fake.Reply(**fault)
    with pytest.raises(ShepherdError) as caught:
        ask(connect())
    line = str(caught.value)
    assert line.startswith(f"{endpoint.url}/completions: {said}")
    assert '(asked for problem "p7", 3 attempts); ' in line
    assert line.endswith("what is finished is kept, --resume goes on with a run")
    assert len(line.splitlines()) == 1
    assert len(endpoint.asked) == 3


def test_an_answer_that_lacks_what_was_asked_for_is_asked_again(endpoint: Any, connect: Connect) -> None:
    answers: list[list[str]] = []

    def third_time_lucky(answer: dict[str, Any]) -> list[str]:
        answers.append(texts(answer))
        if len(answers) < 3:
            raise BrokenAnswerError("an answer without luck")
        return answers[-1]

    client = connect()
    assert list(client.run([job(client, read=third_time_lucky)])) == [DRAW_7]
    with pytest.raises(ShepherdError, match=r"an answer without luck .* 1 attempt\)"):
        client = connect(retries=0)
        answers.clear()
        list(client.run([job(client, read=third_time_lucky)]))


def test_a_server_that_hangs_is_given_up(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.script = [fake.Reply(hang=True)]
    assert ask(connect(timeout_s=0.2)) == DRAW_7
    endpoint.reply = lambda _: fake.Reply(hang=True)
    with pytest.raises(ShepherdError, match=r"no answer within 0\.1 s .* raise server\.timeout_s"):
        ask(connect(timeout_s=0.1, retries=1))


def test_the_time_limit_is_of_the_whole_answer(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.reply = lambda _: fake.Reply(body=b" " * 1000 + b"{}", dribble_s=0.02)
    started = time.monotonic()
    with pytest.raises(ShepherdError, match=r"no answer within 0\.3 s"):
        ask(connect(timeout_s=0.3, retries=0))
    assert time.monotonic() - started < 5


def test_a_server_that_is_not_there_is_one_line(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        ShepherdError, match=rf"^http://127\.0\.0\.1:{port}/v1/completions: .*3 attempts\); see"
    ):
        ask(connect(base_url=f"http://127.0.0.1:{port}/v1"))


def test_retry_after_is_waited_for(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    client = connect()
    endpoint.script = [fake.error(429, "slow down", **{"Retry-After": "0.4"})]
    started = time.monotonic()
    assert ask(client) == DRAW_7
    assert time.monotonic() - started >= 0.4


def test_a_quota_that_is_used_up_is_not_waited_for(endpoint: Any, fake: ModuleType, connect: Connect) -> None:
    endpoint.reply = lambda _: fake.error(429, "come back tomorrow", **{"Retry-After": "86400"})
    with pytest.raises(ShepherdError, match=r"come back tomorrow .* 1 attempt, asked for a pause of 86400 s"):
        ask(connect())
    assert len(endpoint.asked) == 1


def test_a_pause_is_a_number_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90))
    assert 80 < (asked_pause_s(later) or 0) <= 90
    assert asked_pause_s(None) is None
    assert asked_pause_s("inf") is None
    assert asked_pause_s("-5") == 0
    assert asked_pause_s("Thu, 01 Jan 1970 00:00:00 -0000") == 0


def test_pauses_double_with_jitter_and_end_at_half_a_minute(connect: Connect) -> None:
    client = connect(backoff_s=0.5)
    for attempt, longest in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (5000, 30.0)]:
        pauses = {client._pause_s(attempt, None) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert client._pause_s(1, 12.5) == 12.5


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "OPENAI_API_KEY is not set; put the endpoint's key into this environment variable"),
        (403, "OPENAI_API_KEY is not set"),
        (400, "server.max_n=1, server.seeds=false or server.logprobs=false"),
        (422, "change what it names"),
        (405, "this endpoint does not take such requests"),
    ],
)
def test_what_no_retry_changes_is_asked_once(
    endpoint: Any, fake: ModuleType, connect: Connect, status: int, said: str
) -> None:
    endpoint.reply = lambda _: fake.error(status, "no")
    with pytest.raises(ShepherdError, match=rf'HTTP {status}: no \(asked for problem "p7"\); ') as caught:
        ask(connect())
    assert said in str(caught.value)
    assert len(endpoint.asked) == 1


def test_a_model_that_is_not_served_is_told_from_a_path_that_is_not(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    def refuse(asked: Any, models: Any) -> Any:
        return models if asked.path.endswith("/models") else fake.error(404, "not found")

    names = [f"model-{i}" for i in range(9)] + ["fakes", "\x1b[31mred"]
    some = fake.Reply(body={"data": [{"id": name} for name in names]})
    for models, said in [
        (some, r"it serves fakes, .*, …; set model to one of them$"),
        (fake.Reply(body={"data": [{"id": "fake"}]}), "it serves this model but not this path"),
        (fake.Reply(body={"data": []}), "it serves no model"),
        (fake.Reply(body={"data": 5}), r"nothing answers there; server\.base_url goes up to and with /v1"),
        (fake.error(404, "not found"), "nothing answers there"),
        (fake.error(500, "boom"), "nothing answers there"),
    ]:
        endpoint.reply = partial(refuse, models=models)
        with pytest.raises(ShepherdError, match=said) as caught:
            ask(connect())
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_with_the_key(
    endpoint: Any, fake: ModuleType, connect: Connect, status: int
) -> None:
    elsewhere = fake.FakeEndpoint()
    endpoint.reply = lambda _: fake.Reply(status, headers={"Location": f"{elsewhere.url}/completions"})
    with pytest.raises(
        ShepherdError, match=rf"HTTP {status}: .*it leads to {elsewhere.url}/completions; set"
    ):
        ask(connect())
    elsewhere.close()
    assert len(endpoint.asked) == 1
    assert elsewhere.asked == []


def test_a_failure_delivers_what_came_before_it_and_starts_nothing_after_it(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    refused = threading.Event()

    def answer(asked: Any) -> Any:
        if asked.body["seed"] == 1:
            refused.set()
            return fake.error(400, "no")
        if asked.body["seed"] == 0:
            refused.wait(20)  # the failure is there first
        return fake.complete(asked)

    endpoint.reply = answer
    client = connect(concurrency=2)
    results = client.run([job(client, seed) for seed in range(50)])
    assert next(results) == ["Step 1: draw 0 ки"]
    with pytest.raises(ShepherdError, match='"p1"'):
        next(results)
    assert len(endpoint.asked) <= 4


def test_a_caller_that_stops_leaves_nothing_under_way(
    endpoint: Any, fake: ModuleType, connect: Connect
) -> None:
    endpoint.reply = lambda asked: fake.Reply(hang=True) if asked.body["seed"] else fake.complete(asked)
    client = connect(concurrency=4)
    results = client.run([job(client, seed) for seed in range(20)])
    next(results)
    started = time.monotonic()
    results.close()
    client.close()
    client.close()
    assert time.monotonic() - started < 5
    assert len(endpoint.asked) <= 5


def test_the_key_is_sent_and_never_shown(
    endpoint: Any, fake: ModuleType, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", f"{KEY}\n")
    client = connect(api_key_env="SOME_KEY", retries=0)
    assert ask(client) == DRAW_7
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(client) + repr(client.config)
    for reply in [
        fake.error(401, f"bad key {KEY}"),
        fake.error(500, f"bad key {KEY[:5]}\x1b[0m{KEY[5:]}"),
        fake.Reply(body=f"key {KEY}".encode()),
        fake.Reply(body=f'["{KEY}"]'.encode()),
        fake.Reply(body=b"\0" * 399 + KEY.encode()),
        fake.Reply(307, headers={"Location": f"http://other/{KEY}"}),
    ]:
        endpoint.reply = lambda _, reply=reply: reply
        with pytest.raises(ShepherdError, match=r"\*\*\*") as caught:
            ask(client)
        assert KEY not in str(caught.value)
        assert caught.value.__suppress_context__  # nor in a traceback


def test_without_a_key_a_local_server_is_asked_all_the_same(endpoint: Any, connect: Connect) -> None:
    assert ask(connect()) == DRAW_7
    assert endpoint.asked[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "schlüssel", "\x7f"])
def test_a_variable_that_holds_no_key_is_refused_without_its_value(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(
        ShepherdError, match=r"^OPENAI_API_KEY: holds blanks or signs that no key has"
    ) as caught:
        connect()
    assert value not in str(caught.value)


def test_halves_of_surrogate_pairs_are_sent_as_replacement_characters(
    endpoint: Any, connect: Connect
) -> None:
    client = connect()
    body = {"model": "fake", "prompt": "a\ud800b\0\U0001f600", "n": 1, "seed": 1}
    list(client.run([partial(client.ask, f"{endpoint.url}/completions", body, texts, "it")]))
    assert endpoint.asked[0].body["prompt"] == "a\ufffdb\0\U0001f600"


def test_the_package_is_needed_only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ShepherdError, match=r"pip install 'shepherd-prm\[server\]'$"):
        Endpoint(ServerConfig())
