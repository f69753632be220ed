"""The aggregate of rounds: what DAgger learns from (arXiv 1011.0686, section 3).

A union is the pairs of all rounds in their order, each once. Its hash says what is learnt and how much of it:
a loop that is resumed checks it, so that a file that was touched is never trained on unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from generation.pairs.config import UnionConfig
from generation.pairs.pair import Pair
from shepherd.errors import ShepherdError, at
from shepherd.fields import is_finite
from shepherd.files import read_jsonl, write_jsonl

_SHOWN = 12
"""Digits of a hash that errors show."""


@dataclass(frozen=True, slots=True)
class Union:
    """Pairs and what each weighs.

    Attributes:
        pairs: in the order of their rounds, each once by its key.
        weights: of the pairs, above 0.
        duplicates: pairs that were there already when a round brought them again.
        left_out: pairs of rounds that weigh nothing.
    """

    pairs: tuple[Pair, ...]
    weights: tuple[float, ...]
    duplicates: int = field(default=0, compare=False)
    left_out: int = field(default=0, compare=False)

    @property
    def hash(self) -> str:
        """SHA-256 of what is learnt: what each pair says and weighs, in order; not where it comes from."""
        return _hash((pair.key, weight) for pair, weight in zip(self.pairs, self.weights, strict=True))


def aggregate(rounds: Sequence[Sequence[Pair]], config: UnionConfig, *, dagger: bool = True) -> Union:
    """Unite the pairs of all rounds so far.

    A pair that several rounds made stays where it came first, with what is known of it there, and weighs as
    much as in the heaviest of these rounds.

    Args:
        rounds: the pairs of each round, from round 1 on.
        config: what a round weighs.
        dagger: all rounds; else the last one alone.

    Example:
        >>> from generation.pairs.pair import Side
        >>> first, second = (Pair("2 + 2?", Side(" 4"), Side(wrong)) for wrong in (" 5", " 3"))
        >>> union = aggregate([[first], [first, second]], UnionConfig(decay=0.5))
        >>> [pair.rejected.text for pair in union.pairs], union.weights, union.duplicates
        ([' 5', ' 3'], (1.0, 1.0), 1)
        >>> aggregate([[first], [second]], UnionConfig(decay=0.5)).weights
        (0.5, 1.0)
    """
    last = len(rounds)
    kept: dict[str, Pair] = {}
    weights: dict[str, float] = {}
    duplicates = left_out = 0
    for number, pairs in enumerate(rounds, 1):
        if not dagger and number < last:
            continue
        weight = weight_of(number, last, config)
        if weight == 0:
            left_out += len(pairs)
            continue
        for pair in pairs:
            key = pair.key
            duplicates += key in kept
            kept.setdefault(key, pair)
            weights[key] = max(weight, weights.get(key, 0.0))
    return Union(tuple(kept.values()), tuple(weights.values()), duplicates, left_out)


def weight_of(number: int, last: int, config: UnionConfig) -> float:
    """What a pair of round ``number`` weighs when round ``last`` is the newest; both from 1.

    Example:
        >>> weight_of(1, 3, UnionConfig(decay=0.5)), weight_of(3, 3, UnionConfig(weights={3: 2.0}))
        (0.25, 2.0)
    """
    if config.weights == "equal":
        return config.decay ** (last - number)
    return float(config.weights.get(number, 1.0))


def write_union(path: str | os.PathLike[str], union: Union) -> None:
    """Write a union, a pair a line and its weight with it, whole or not at all."""
    rows = zip(union.pairs, union.weights, strict=True)
    write_jsonl(path, ({**pair.to_json(), "weight": weight} for pair, weight in rows))


def read_union(path: str | os.PathLike[str]) -> Union:
    """Read a union.

    Raises:
        ShepherdError: with file and line, for what is no pair, for a weight that is none, and for a pair that
            stands there twice.
    """
    kept: dict[str, Pair] = {}
    weights: list[float] = []
    first_line: dict[str, int] = {}
    for line, row in read_jsonl(path):
        pair = Pair.from_json(row, str(path), line)
        weight = row.get("weight")
        if weight is None or not is_finite(weight) or weight <= 0:
            raise at(path, line, f'"weight" must be a number above 0, found {weight!r:.40}')
        if pair.key in kept:
            raise at(
                path, line, f"this pair was already on line {first_line[pair.key]}; take one of them out"
            )
        kept[pair.key], first_line[pair.key] = pair, line
        weights.append(float(weight))
    if not kept:
        raise ShepherdError(f"{path}: no lines; a union has one pair a line, with its weight")
    return Union(tuple(kept.values()), tuple(weights))


def check_hash(path: Path | str, *expected: str) -> Union:
    """Read a union that must be one that was written here.

    Args:
        path: the file.
        expected: the hashes that it may have, the one it was learnt from last.

    Raises:
        ShepherdError: where it has another one, or cannot be read.
    """
    union = read_union(path)
    if union.hash not in expected:
        raise ShepherdError(
            f"{path}: the union has changed since it was learnt from (hash {union.hash[:_SHOWN]}, was "
            f"{expected[-1][:_SHOWN]}); put the file back, or remove it: it is made again of the pairs"
        )
    return union


def _hash(rows: Iterable[tuple[str, float]]) -> str:
    digest = hashlib.sha256()
    for key, weight in rows:
        digest.update(json.dumps([key, float(weight)]).encode() + b"\n")
    return digest.hexdigest()
