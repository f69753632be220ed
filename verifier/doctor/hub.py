"""Is the Hugging Face hub within reach? Nothing here is a failure: all commands have an embedded default."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from urllib.error import HTTPError

from verifier.doctor.finding import Finding

_FLAGS = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_TIMEOUT_S = 3.0


def check_hub() -> Iterator[Finding]:
    """Offline flags, an answer from the hub, and whether a token is there (never which)."""
    set_flags = [name for name in _FLAGS if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}]
    if set_flags:
        fix = f"models and data must be here already; to go online: unset {' '.join(set_flags)}"
        yield Finding("hub", "note", f"offline by {', '.join(set_flags)}", fix)
        return
    yield reach(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    from huggingface_hub import get_token

    if get_token() is None:
        fix = "models behind a licence (meta-llama) need one: hf auth login"
        yield Finding("hub token", "note", "none", fix)
    else:
        yield Finding("hub token", "ok", "there is one")


def reach(address: str) -> Finding:
    """Ask once, for a short time."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return Finding("hub", "ok", f"{address} answers")
    except HTTPError as error:
        return Finding("hub", "ok", f"{address} answers (status {error.code})")
    except (OSError, HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        fix = "give folders and files in place of hub names; the embedded configs need no hub"
        return Finding("hub", "note", f"{address} does not answer: {reason}", fix)
