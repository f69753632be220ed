"""One HTTP client for OpenAI-compatible endpoints: patient with what passes, plain about what does not.

Retries are done here and not by the openai package, which looks no further than connection and status: an
answer that is no JSON or lacks what was asked for is a failure that may pass, too.

The key comes from the environment and goes into the request's header, nowhere else; what an endpoint answers
is shown without it. Left out on purpose: streaming, which nobody here reads, and following redirects.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from shepherd.endpoint_errors import (
    BrokenAnswerError,
    Kind,
    PassingError,
    ask_for_less,
    asked_pause_s,
    remedy,
    said,
    shown,
    which_model,
)
from shepherd.errors import ShepherdError
from shepherd.extras import require
from shepherd.serving import ServerConfig

T = TypeVar("T")

MAX_BACKOFF_S = 30.0
MAX_PAUSE_S = 600.0
"""A longer pause than this is not waited for when an endpoint asks for it: a daily quota is used up."""

_LOOKED_AT = 1 << 16
"""Bytes of a broken answer that are searched for the key before a line of it is shown; no key is as long."""

_PASSING = {408, 409, 425, 429}
_NO_KEY = "none"
"""Sent where the variable is not set: the openai package wants a key, a local server reads none."""


class Endpoint:
    """A client of one endpoint. Requests run in a thread of its own; callers wait, and can be interrupted.

    Args:
        config: Where it is and how patient to be.

    Raises:
        ShepherdError: if the openai package is missing, or the variable holds what cannot be a key.
    """

    def __init__(self, config: ServerConfig) -> None:
        require("server")
        from openai import AsyncOpenAI

        self.config = config
        self._key = _read_key(config.api_key_env)
        self._client = AsyncOpenAI(
            api_key=self._key or _NO_KEY, base_url=config.base_url, timeout=config.timeout_s, max_retries=0
        )
        self._jitter = random.Random()  # its own: the seeds of a run are not for pauses
        self._gate = asyncio.Semaphore(config.concurrency)
        self._loop = asyncio.new_event_loop()
        # A daemon: an interrupt ends the process at once, whatever an endpoint is still busy with.
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Endpoint({self.config.base_url})"

    def run(self, jobs: Sequence[Callable[[], Awaitable[T]]]) -> Generator[T, None, None]:
        """Run jobs side by side, at most ``concurrency`` of them, and yield their results in order.

        A job that fails raises when its turn comes, so that all results before it are delivered; those
        after it are cancelled at once. So are all that are left when the caller stops.

        Args:
            jobs: Each a function that starts it; a job makes its requests one after the other (`ask`).
        """
        futures = [asyncio.run_coroutine_threadsafe(self._gated(job), self._loop) for job in jobs]

        def cancel_after(index: int, ended: Future[T]) -> None:
            if not ended.cancelled() and ended.exception() is not None:
                _cancel(futures[index + 1 :])

        try:
            for index, future in enumerate(futures):
                future.add_done_callback(partial(cancel_after, index))
            for future in futures:
                yield future.result()
        finally:
            _cancel(futures)

    def shown(self, text: str) -> str:
        """What the endpoint said, fit for an error: one short line without escapes and without the key."""
        return shown(text, self._key)

    async def ask(
        self, url: str, body: dict[str, Any] | None, read: Callable[[dict[str, Any]], T], what: str
    ) -> T:
        """Send one request and read its answer; what may pass is tried again.

        Args:
            url: Where to; the base URL or its root, and a path.
            body: JSON to post; None gets. Half a surrogate pair, which no UTF-8 has, is sent as U+FFFD.
            read: Takes the answer's JSON object apart; raises `BrokenAnswerError` where something is missing.
            what: What is asked, for the error: ``"problem p1"``.

        Raises:
            ShepherdError: where a retry would not help, and after the last one.
        """
        attempt = 0
        while True:
            try:
                return read(await self._attempt(url, body, what))
            except PassingError as fault:
                attempt += 1
                if attempt > self.config.retries or (fault.pause_s or 0) > MAX_PAUSE_S:
                    raise self._gave_up(url, what, fault, attempt) from None
                await asyncio.sleep(self._pause_s(attempt, fault.pause_s))

    async def list_models(self) -> list[dict[str, Any]]:
        """What the endpoint says of the models it serves; each has an ``id``."""
        return await self.ask(f"{self.config.base_url}/models", None, _read_models, "the list of models")

    def close(self) -> None:
        """Cancel what is under way and close the connections."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _gated(self, job: Callable[[], Awaitable[T]]) -> T:
        async with self._gate:
            return await job()

    async def _shut(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    async def _attempt(self, url: str, body: dict[str, Any] | None, what: str) -> dict[str, Any]:
        """Send a request once; its answer's JSON object."""
        import httpx2
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            # The client's own limit is of each read: a byte a minute would never end.
            async with asyncio.timeout(self.config.timeout_s):
                if body is None:
                    response = await self._client.get(url, cast_to=httpx2.Response, options=_NO_REDIRECT)
                else:
                    response = await self._client.post(
                        url, content=_encode(body), cast_to=httpx2.Response, options=_NO_REDIRECT
                    )
        except (TimeoutError, APITimeoutError):
            raise PassingError(f"no answer within {self.config.timeout_s:g} s", "timeout") from None
        except APIConnectionError as error:
            cause = error.__cause__ or error  # whose text can be empty, as that of a reset
            raise PassingError(self.shown(str(cause) or type(cause).__name__), "connection") from None
        except APIStatusError as error:
            text = f"HTTP {error.status_code}: {said(error.body, self._key)}"
            if error.status_code in _PASSING or error.status_code >= 500:
                pause_s = asked_pause_s(error.response.headers.get("retry-after"))
                kind: Kind = "rate" if error.status_code == 429 else "server"
                raise PassingError(text, kind, pause_s) from None
            location = error.response.headers.get("location")
            way_out = await self._way_out(error.status_code, location, url, (body or {}).get("model"))
            raise ShepherdError(f"{url}: {text} (asked for {what}); {way_out}") from None
        return self._decode(response.content)

    def _decode(self, content: bytes) -> dict[str, Any]:
        """The JSON object of an answer."""
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            start = content[:_LOOKED_AT].decode(errors="replace")
            raise BrokenAnswerError(
                f"an answer that is no JSON: {self.shown(start) or 'nothing at all'}"
            ) from None
        if not isinstance(answer, dict):
            start = str(answer)[:_LOOKED_AT]
            raise BrokenAnswerError(f"an answer that is no JSON object: {self.shown(start)}")
        return answer

    async def _way_out(self, status: int, location: str | None, url: str, model: object) -> str:
        """What to do about an answer that no retry changes."""
        if 300 <= status < 400:
            return f"it leads to {self.shown(location or 'nowhere')}; set server.base_url to where it is"
        if status in {401, 403}:
            name = self.config.api_key_env
            if self._key is None:
                return f"{name} is not set; put the endpoint's key into this environment variable"
            return f"put the endpoint's key into the environment variable {name}; the one there is refused"
        if status == 404 and model is not None:
            try:
                rows = _read_models(await self._attempt(f"{self.config.base_url}/models", None, "models"))
            except (PassingError, ShepherdError):
                return "nothing answers there; server.base_url goes up to and with /v1"
            return which_model(model, [self.shown(str(row["id"])) for row in rows])
        return ask_for_less(status)

    def _pause_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds before the next attempt: doubled each time, jittered, never less than was asked for."""
        # 2 ** 1000 is a float still, and more retries than that are not worth an overflow
        backoff_s = min(self.config.backoff_s * 2.0 ** min(attempt - 1, 1000), MAX_BACKOFF_S)
        return max(backoff_s * self._jitter.uniform(0.5, 1.0), asked_s or 0.0)

    def _gave_up(self, url: str, what: str, fault: PassingError, attempts: int) -> ShepherdError:
        """The error after the last retry."""
        asked = f", asked for a pause of {fault.pause_s:g} s" if fault.pause_s else ""
        tried = f"{attempts} attempt{'s' if attempts > 1 else ''}{asked}"
        return ShepherdError(
            f"{url}: {fault} (asked for {what}, {tried}); {remedy(fault.kind)}; what is finished is kept, "
            "--resume goes on with a run"
        )


def _cancel(futures: Sequence[Future[T]]) -> None:
    """Cancel jobs, those that wait first: the end of one that runs would let the next begin."""
    for future in reversed(futures):
        future.cancel()


_NO_REDIRECT: Any = {"follow_redirects": False}  # a POST would turn into a GET, and the key travel on


def _read_key(name: str) -> str | None:
    """The key in the environment variable ``name``; None where it is not set."""
    key = os.environ.get(name, "").strip()
    if not key:
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ShepherdError(
            f"{name}: holds blanks or signs that no key has; set the environment variable anew"
        )
    return key


def _encode(body: dict[str, Any]) -> bytes:
    """A request's JSON as UTF-8; through UTF-16, whose decoder knows halves of surrogate pairs."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _read_models(answer: dict[str, Any]) -> list[dict[str, Any]]:
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise BrokenAnswerError('an answer with no "data" of models')
    return rows
