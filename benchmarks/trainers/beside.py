"""Trainers side by side: their goes alternate; rates, bytes and losses are held beside those of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from trainers.floor import Floor, timed
from trainers.watch import Watched

from verifier.prepare import Prepared

PACKED, UNPACKED = "packed", "a row a solution"
RECOMPUTED = "packed, activations computed again"
SFT = "SFTTrainer (TRL 1.16), head at labels alone"
CLOSE = 1e-3
"""How near to ours the rivals' losses have to be: they compute the same."""
GOES = 2
"""Of every trainer, the second in the opposite order; a step's time is the least of them."""

Trainings = Mapping[str, Callable[[], Watched]]


def run_all(
    trainings: Trainings, prepared: Prepared, floor: Floor, close: float = CLOSE
) -> list[dict[str, Any]]:
    """What every training took and how far its losses are from those of the first.

    Args:
        trainings: by name; one that was given the first step alone has no time.
        prepared: their steps.
        floor: of their model.
        close: how near the losses have to be.
    """
    part = timed(prepared)
    rows, least_s = sum(map(len, part.plan)), floor.seconds(part)
    runs = {method: run() for method, run in trainings.items()}
    for go in range(1, GOES):
        for method in [*trainings][:: (-1) ** go]:
            first = runs[method]
            if first.seconds:
                again = trainings[method]().seconds
                runs[method] = first._replace(seconds=list(map(min, first.seconds, again)))
    found = []
    for method, each in runs.items():
        taken_s = sum(each.seconds)
        found.append(
            {
                "method": method,
                "rows_a_second": rows / taken_s if each.seconds else None,
                "of_floor": taken_s / least_s if each.seconds else None,
                **each._asdict(),
            }
        )
        said = f"{rows / taken_s:.2f} rows/s, " if each.seconds else ""
        print(f"  {method}: {said}{each.peak_bytes / 2**20:,.0f} MiB", flush=True)
    _compare(found, close)
    return found


def recomputing(prepared: Prepared) -> Prepared:
    """The same plan with gradient checkpointing."""
    config = prepared.config.model_copy(update={"gradient_checkpointing": True})
    return replace(prepared, config=config)


def _compare(found: list[dict[str, Any]], close: float) -> None:
    """Each training beside the first: how fast, how large, how far apart the losses."""
    mine = found[0]
    for each in found:
        rate = each["rows_a_second"]
        each["times_slower"] = None if rate is None else mine["rows_a_second"] / rate
        each["times_larger"] = each["peak_bytes"] / mine["peak_bytes"]
        apart = [abs(a - b) for a, b in zip(mine["losses"], each["losses"], strict=False)]
        each["first_loss_apart"], each["losses_apart"] = apart[0], max(apart)
        if max(apart) > close:
            raise SystemExit(f"{each['method']}: losses differ from ours by {max(apart):.1e}")
