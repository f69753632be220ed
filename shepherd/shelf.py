"""A run's side of the store: the entries of one plan, read and written a chunk at a time.

A store that fails is left aside with one line, and the run goes on without it: it holds nothing that cannot
be computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from shepherd.entries import Entry, digest
from shepherd.runs import announce
from shepherd.store import Store, StoreError, default_folder, warn


@contextmanager
def open_store(wanted: bool = True) -> Iterator[Store | None]:
    """Open the user's store; None where it is not wanted, or cannot be had (told in one line).

    Raises:
        ShepherdError: if a newer version of this package wrote it.
    """
    store = None
    if wanted:
        try:
            store = Store(default_folder())
        except StoreError as error:
            warn(f"{error}; going on without the store")
    if store is None:
        yield None
        return
    with store:
        yield store


class Shelf:
    """The entries of one plan.

    Args:
        store: The open store; None is a shelf that holds nothing and keeps nothing.
        kind: ``pool`` or ``scores``.
        plan: All that decides the values but chunk and problem; None, where it is not known, is as no store.
        model: What makes the values, for a human.
    """

    def __init__(self, store: Store | None, kind: str, plan: Mapping[str, Any] | None, model: str) -> None:
        self.store, self.kind, self.plan, self.model = store, kind, plan, model

    def read(self, chunk: object, problems: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """The values of all problems of a chunk; None if one of them is not there.

        Args:
            chunk: What the chunk's problems were computed from, in their order: what shares a batch changes
                last bits, so a chunk that differs anywhere is another chunk.
            problems: What is said of each problem in its key.
        """
        if self.store is None or self.plan is None:
            return None
        values = []
        try:
            for key in _keys(self.plan, chunk, problems):
                value = self.store.get(self.kind, key)
                if value is None:
                    return None
                values.append(value)
        except StoreError as error:
            self._leave(error)
            return None
        return values

    def write(self, chunk: object, problems: Sequence[Mapping[str, Any]], values: Sequence[Any]) -> None:
        """Keep a finished chunk, whole or not at all."""
        if self.store is None or self.plan is None:
            return
        keys = _keys(self.plan, chunk, problems)
        entries = [Entry(self.kind, key, value, self.model) for key, value in zip(keys, values, strict=True)]
        try:
            self.store.put(entries)
        except StoreError as error:
            self._leave(error)

    def _leave(self, error: StoreError) -> None:
        warn(f"{error}; going on without the store")
        self.store = None


NOWHERE = Shelf(None, "", None, "")
"""A shelf that holds nothing and keeps nothing."""


def tell(what: str) -> None:
    """Say what was read from the store, on stderr and in the log of the run under way."""
    announce(f"{what} from the store")


def _keys(
    plan: Mapping[str, Any], chunk: object, problems: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    inside = digest(chunk)
    return [{"plan": plan, "chunk": inside, "at": at, **problem} for at, problem in enumerate(problems)]
