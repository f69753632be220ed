"""What the store holds, as lines of a table; and which entries may go."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from shepherd.columns import Listed
from shepherd.entries import Stored, digest
from shepherd.store import Age

DAMAGED = "damaged"
"""Stands for the plan of an entry whose key cannot be read."""


@dataclass(slots=True)
class Group:
    """The entries of one plan, or the columns of one key.

    Attributes:
        id: Short hash of the plan.
        plan: All that decides the values but chunk and problem.
        oldest: Unix seconds.
        newest: Unix seconds.
        size_bytes: Of keys and values, or of files.
        counts: What it holds, by unit: problems and candidates, or of training data questions and rows;
            empty where a damaged manifest does not tell.
    """

    kind: str
    model: str
    id: str
    plan: dict[str, Any]
    oldest: float
    newest: float
    size_bytes: int
    counts: dict[str, int]

    @property
    def holds(self) -> str:
        """The counts with their units, for a human."""
        return ", ".join(f"{count:,} {unit}" for unit, count in self.counts.items()) or "unknown"

    def to_json(self) -> dict[str, Any]:
        """The group as a JSON object, each count under its unit."""
        values = asdict(self)
        counts: dict[str, int] = values.pop("counts")
        return values | counts


def group(rows: Iterable[Stored], columns: Iterable[Listed] = ()) -> list[Group]:
    """Entries by kind, model and plan, and columns one by one; newest first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for row in rows:
        key = _key(row)
        plan = key.get("plan", {})
        name = (row.kind, row.model, plan_id(row))
        empty = Group(*name, plan, row.created, row.created, 0, {"problems": 0, "candidates": 0})
        found = groups.setdefault(name, empty)
        found.oldest, found.newest = min(found.oldest, row.created), max(found.newest, row.created)
        found.counts["problems"] += 1
        found.counts["candidates"] += key.get("candidates", 0)
        found.size_bytes += row.size_bytes
    found_columns = (
        Group(
            each.kind,
            each.model,
            columns_id(each),
            each.key,
            each.created,
            each.created,
            each.size_bytes,
            {"questions": each.questions, "rows": each.rows} if each.key else {},
        )
        for each in columns
    )
    return sorted(
        [*groups.values(), *found_columns], key=lambda each: (-each.newest, each.kind, each.model, each.id)
    )


def columns_id(listed: Listed) -> str:
    """Short hash of a column folder's key."""
    return digest(listed.key)[:8] if listed.key else DAMAGED


def plan_id(row: Stored) -> str:
    """Short hash of an entry's plan."""
    plan = _key(row).get("plan")
    return DAMAGED if plan is None else digest(plan)[:8]


def to_prune(ages: Iterable[Age], now: float, age_s: float | None, most_bytes: float | None) -> list[Age]:
    """Choose what may go: what is older than ``age_s``, then the oldest until ``most_bytes`` are left.

    Example:
        >>> ages = [Age("a", 0.0, 30), Age("b", 50.0, 30), Age("c", 90.0, 30)]
        >>> [age.hash for age in to_prune(ages, now=100.0, age_s=60.0, most_bytes=None)]
        ['a']
        >>> [age.hash for age in to_prune(ages, now=100.0, age_s=None, most_bytes=40)]
        ['a', 'b']
    """
    by_age = sorted(ages, key=lambda each: (each.created, each.hash))
    left = sum(each.size_bytes for each in by_age)
    chosen = []
    for each in by_age:
        too_old = age_s is not None and now - each.created > age_s
        if not too_old and (most_bytes is None or left <= most_bytes):
            break
        chosen.append(each)
        left -= each.size_bytes
    return chosen


def _key(row: Stored) -> dict[str, Any]:
    """An entry's key; nothing where it is damaged."""
    key: dict[str, Any] = json.loads(row.key) if row.fault() is None else {}
    return key
