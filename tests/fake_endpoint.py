"""An OpenAI-compatible server on loopback for tests: it draws from the seed, and fails as it is told."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Reply:
    """What is sent back.

    Attributes:
        body: JSON object, or the bytes themselves.
        cut: only so many bytes of the body are sent before the connection is closed.
        hang: nothing is sent until the test is over.
        drop: the connection is closed without a word.
        reset: it is torn down.
        dribble_s: pause between single bytes.
    """

    status: int = 200
    body: dict[str, Any] | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    hang: bool = False
    drop: bool = False
    reset: bool = False
    dribble_s: float | None = None


class FakeEndpoint:
    """The server. ``script`` is sent first, reply by reply; then ``reply`` answers, which a test may set."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: list[Reply] = []
        self.reply: Callable[[Asked], Reply] = complete
        self.under_way = self.most_under_way = 0
        self.over = threading.Event()
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def sent_to(self, ending: str) -> list[Asked]:
        return [each for each in self.asked if each.path.endswith(ending)]

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    fake: FakeEndpoint
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a client that went away, perhaps in the middle of its body
        if not isinstance(sys.exc_info()[1], ConnectionError | json.JSONDecodeError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        fake = self.server.fake
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        with fake.lock:
            fake.asked.append(asked)
            fake.under_way += 1
            fake.most_under_way = max(fake.most_under_way, fake.under_way)
            reply = fake.script.pop(0) if fake.script else None
        try:
            self._send(reply or fake.reply(asked))
        finally:
            with fake.lock:
                fake.under_way -= 1

    def _send(self, reply: Reply) -> None:
        fake = self.server.fake
        if reply.hang:
            fake.over.wait(60)
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise ConnectionResetError
        if reply.hang or reply.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.dribble_s is not None:
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                if fake.over.wait(reply.dribble_s):
                    break
        else:
            self.wfile.write(body[: reply.cut])
        if reply.cut is not None or reply.dribble_s is not None:
            self.close_connection = True


def complete(asked: Asked) -> Reply:
    """Choices as vLLM draws them: choice i of a request is that of seed + i alone."""
    if asked.path.endswith("/models"):
        return Reply(body={"data": [{"id": "fake"}, {"id": "other"}]})
    chat = asked.path.endswith("/chat/completions")
    choices = [choice(f"Step 1: draw {asked.body['seed'] + i} ки", i, chat) for i in range(asked.body["n"])]
    return Reply(body={"choices": choices, "usage": {"completion_tokens": 4 * len(choices)}})


def choice(text: str | None, index: int = 0, chat: bool = False, **more: Any) -> dict[str, Any]:
    where = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {"index": index, "finish_reason": "stop", **where, **more}


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as the API words it."""
    return Reply(status, {"error": {"message": message, "type": "error"}}, headers)
