"""Entries of the store: a key in full, its hash, a value, and the row that SQLite keeps of them.

An entry is one problem of one chunk. Its key says the plan (model, tokenizer, prompt, engine, sampling,
seed), the chunk and the problem; it stands in full beside its hash, so that a human can see what an entry is.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shepherd.files import SCHEMA_VERSION


def canonical(value: object) -> str:
    r"""One text for equal keys: no order of names, no 1.0 beside 1; texts differ where they differ at all.

    Args:
        value: JSON-like data; tuples are lists.

    Raises:
        ValueError: for a NaN or an infinity.
        TypeError: for what is not JSON, and for names that are not text.

    Example:
        >>> canonical({"top_p": 1.0, "stop": ("é",)}) == canonical({"stop": ["é"], "top_p": 1})
        True
        >>> canonical({"é": [1.5, True, None]})
        '{"\\u00e9":[1.5,true,null]}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"a key has texts as names, found {list(value)!r:.80}")
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def digest(value: object) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept under one key.

    Attributes:
        kind: ``pool`` or ``scores``.
        key: All that decides the value.
        value: JSON data.
        model: What made it, for a human: a name that decides nothing.
    """

    kind: str
    key: Mapping[str, Any]
    value: Any
    model: str = ""

    @property
    def hash(self) -> str:
        """The entry's address."""
        return digest([self.kind, self.key])


class Stored(NamedTuple):
    """One row as the file has it, unread.

    Attributes:
        value: Compressed JSON.
        created: Unix seconds.
    """

    hash: str
    kind: str
    schema_version: int
    model: str
    key: str
    value: bytes
    checksum: str
    created: float

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value)

    def fault(self) -> str | None:
        """What is wrong with it, or None."""
        if self.checksum != _checksum(self.hash, self.schema_version, self.model, self.value):
            return "its checksum does not fit"
        try:
            fits = digest([self.kind, json.loads(self.key)]) == self.hash
        except (ValueError, TypeError, RecursionError):  # it may be anything now
            return "its key is broken"
        return None if fits else "its key does not fit its hash"

    def entry(self) -> Entry:
        """The entry; to be asked only of a row without a `fault`."""
        return Entry(self.kind, json.loads(self.key), json.loads(zlib.decompress(self.value)), self.model)


def pack(entry: Entry, created: float) -> Stored:
    """The row of an entry; ``created`` in Unix seconds."""
    text = json.dumps(entry.value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    value, address = zlib.compress(text.encode()), entry.hash
    checksum = _checksum(address, SCHEMA_VERSION, entry.model, value)
    key = canonical(entry.key)
    return Stored(address, entry.kind, SCHEMA_VERSION, entry.model, key, value, checksum, created)


def _checksum(address: str, schema_version: int, model: str, value: bytes) -> str:
    return hashlib.sha256(f"{address}\0{schema_version}\0{model}\0".encode() + value).hexdigest()
