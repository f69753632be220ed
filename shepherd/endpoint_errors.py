"""What can go wrong with an endpoint, and how it is said in one line that never holds the key."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from shepherd.console import clean

SHOWN_CHARACTERS = 200

Kind = Literal["timeout", "connection", "rate", "server", "answer"]

_REMEDIES: dict[Kind, str] = {
    "timeout": "raise server.timeout_s or lower server.concurrency",
    "connection": "see that the server runs and that server.base_url is its address",
    "rate": "lower server.concurrency or wait",
    "server": "see the server's own log",
    "answer": "see that server.base_url is an OpenAI-compatible endpoint",
}


class PassingError(Exception):
    """A failure that may pass: worth another attempt.

    Args:
        text: What happened, fit to be shown.
        kind: What kind of failure it is, which decides the way out.
        pause_s: Seconds the endpoint asks to be left alone for.
    """

    def __init__(self, text: str, kind: Kind, pause_s: float | None = None) -> None:
        super().__init__(text)
        self.kind, self.pause_s = kind, pause_s


class BrokenAnswerError(PassingError):
    """An answer that is not what was asked for."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "answer")


def remedy(kind: Kind) -> str:
    """What to do about a failure that did not pass."""
    return _REMEDIES[kind]


def ask_for_less(status: int) -> str:
    """What to do about a request that an endpoint refuses as it is."""
    if status in {400, 422}:
        return (
            "change what it names; an endpoint that refuses n, seed or logprobs needs server.max_n=1, "
            "server.seeds=false or server.logprobs=false"
        )
    return "this endpoint does not take such requests; set server.base_url to one that does"


def which_model(asked: object, served: Sequence[str]) -> str:
    """What to do about a 404: the model is another one, or it is the path that is not served.

    Example:
        >>> which_model("lama", ["mistral", "llama"])
        'it serves llama, mistral; set model to one of them'
    """
    if asked in served:
        return "it serves this model but not this path; set server.base_url to an endpoint that does"
    nearest = difflib.get_close_matches(str(asked), served, n=5, cutoff=0.0)
    more = ", …" if len(served) > len(nearest) else ""
    return f"it serves {', '.join(nearest) or 'no model'}{more}; set model to one of them"


def shown(text: str, key: str | None) -> str:
    r"""Foreign text on one line: no escapes, no key, at most 200 characters.

    Example:
        >>> shown("bad\x1b[31m key sk-1:\n  no such user", "sk-1")
        'bad key ***: no such user'
    """
    line = " ".join(clean(text).split())
    if key:
        line = line.replace(key, "***")
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def said(body: object, key: str | None) -> str:
    """The message in an error's body: under ``error``, ``message`` or ``detail``, or the text it is.

    Example:
        >>> said({"error": {"message": "no such model", "code": 404}}, None)
        'no such model'
    """
    while isinstance(body, Mapping):
        found = [body[name] for name in ("error", "message", "detail") if body.get(name)]
        body = found[0] if found else str(dict(body))
    return shown(str(body if body is not None else ""), key) or "no reason given"


def asked_pause_s(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, which holds a number or a date; None where there is none.

    Example:
        >>> asked_pause_s("1.5"), asked_pause_s("Thu, 01 Jan 1970 00:00:00 GMT"), asked_pause_s("soon")
        (1.5, 0.0, None)
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return None
        # "-0000" is a time without a zone, which is meant as UTC
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
