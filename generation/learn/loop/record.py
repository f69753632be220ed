"""What is written of a round: a line of rounds.jsonl, and a row of rounds.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generation.learn.loop.watches import Watched
from shepherd.errors import at
from shepherd.files import atomic_write, read_finished

if TYPE_CHECKING:
    from generation.learn.loop.config import DpoLoopConfig


@dataclass(frozen=True, slots=True)
class Round:
    """A finished round.

    Attributes:
        round: from 0, which is the policy before any update.
        policy: id of the policy that the round ended with.
        reference: id of the reference policy of its update; "" for round 0.
        rollouts: candidates that were rolled out.
        rollout_pass_at_1: mean share of right ones; None where no problem has a gold answer.
        pairs: pairs that were chosen.
        dropped: pairs that were not, by reason.
        pairs_sha256: hash of the round's pairs.
        union: pairs of the aggregate that the update learnt from.
        union_hash: its hash.
        update: what the update says of itself: steps, losses, margins, log-probabilities.
        validation: what the policy does on the validation problems.
        solved: for each of them 1 where it is solved greedily, else 0.
        against_first: by metric, how it differs there from round 0, with paired intervals.
        watched: see `watches`.
        alarms: what is outside its bounds.
        seconds: wall time by stage.
    """

    round: int
    policy: str
    reference: str
    rollouts: int
    rollout_pass_at_1: float | None
    pairs: int
    dropped: Mapping[str, int]
    pairs_sha256: str
    union: int
    union_hash: str
    update: Mapping[str, Any]
    validation: Mapping[str, Any]
    solved: Sequence[int]
    against_first: Mapping[str, Any]
    watched: Watched
    alarms: Sequence[str]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """The round as a line of rounds.jsonl."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int) -> Round:
        """Read it back; ``where`` and ``line`` are for the error."""
        names = [each.name for each in fields(cls)]
        missing = [name for name in names if name not in row]
        if missing:
            raise at(where, line, f'no "{missing[0]}" field; this is no line of a loop\'s rounds')
        values = {name: row[name] for name in names}
        return cls(**{**values, "watched": Watched(**row["watched"])})

    @property
    def greedy(self) -> float:
        """Greedy pass@1 on the validation problems: what decides which round is kept."""
        return float(self.validation["greedy"]["accuracy"])


def read_rounds(path: Path) -> list[Round]:
    """The finished rounds of a run, in order; none where the file is not there."""
    rounds = [Round.from_json(row, str(path), line) for line, row in enumerate(read_finished(path), 1)]
    for line, each in enumerate(rounds, 1):
        if each.round != line - 1:
            raise at(path, line, f"holds round {each.round}, and round {line - 1} belongs there")
    return rounds


def best_round(rounds: Sequence[Round]) -> Round:
    """The round of the highest greedy pass@1 on the validation problems; the earliest of equal ones."""
    return max(rounds, key=lambda each: (each.greedy, -each.round))


def kept_round(rounds: Sequence[Round], config: DpoLoopConfig) -> Round:
    """The round whose policy is kept: the one that learnt most among those that may be the best.

    A few hundred problems do not tell neighbouring rounds apart. Where a later round has learnt all that an
    earlier one had, and more, the latest one is kept whose greedy pass@1 is above round 0's, and at most one
    standard error (of the difference, problem by problem) under the best round's: the one-standard-error
    rule of Breiman et al., Classification and Regression Trees (1984), section 3.4.3. If nothing beats round
    0, that is round 0.

    Args:
        rounds: from 0, in order.
        config: of the loop; without ``dagger`` and with ``start: initial`` no round has learnt more than
            another, and the best one is kept.
    """
    best = best_round(rounds)
    if best.round == 0 or not (config.dagger or config.start == "previous"):
        return best
    kept = best
    for each in rounds[best.round + 1 :]:
        behind = np.array(best.solved, dtype=float) - np.array(each.solved, dtype=float)
        if each.greedy > rounds[0].greedy and behind.mean() <= behind.std() / np.sqrt(len(behind)):
            kept = each
    return kept


def write_csv(path: Path, rounds: Iterable[Round]) -> None:
    """Write one row a round, for a spreadsheet: every number under a plain name."""
    rows = [_row(each) for each in rounds]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_write(path) as handle:
        handle.write(text.getvalue())


def _row(each: Round) -> dict[str, Any]:
    row: dict[str, Any] = {
        "round": each.round,
        "policy": each.policy,
        "reference": each.reference,
        "rollouts": each.rollouts,
        "rollout_pass_at_1": each.rollout_pass_at_1,
        "pairs": each.pairs,
        "dropped": sum(each.dropped.values()),
        "union": each.union,
        "union_hash": each.union_hash,
    }
    row |= {f"update_{name}": value for name, value in each.update.items() if isinstance(value, int | float)}
    for name, value in each.validation.items():
        row |= (
            {f"validation_{name}": value["accuracy"]}
            if isinstance(value, Mapping)
            else {f"validation_{name}": value}
        )
    for name, value in each.against_first.items():
        row |= {
            f"{name}_minus_round_0": value["difference"],
            f"{name}_minus_round_0_low": value["ci95"][0],
            f"{name}_minus_round_0_high": value["ci95"][1],
        }
    row |= {name: value for name, value in asdict(each.watched).items() if f"validation_{name}" not in row}
    return row | {
        "alarms": len(each.alarms),
        **{f"seconds_{k}": round(v, 1) for k, v in each.seconds.items()},
    }
