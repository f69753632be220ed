"""How well a generator expects the right solutions of questions it was not trained on."""

from __future__ import annotations

from typing import Any

from generation.learn.logps import row_logps
from generation.learn.sft.rows import EncodedSolutions


def heldout_loss(model: Any, rows: EncodedSolutions) -> float | None:
    """Mean loss (nats) a token of the solutions and their ends; None where nothing is held out."""
    if not rows.rows:
        return None
    tokens = sum(len(row.ids) - row.start for row in rows.rows)
    return float(-row_logps(model, rows.rows).sum() / tokens)
