"""The model card of a verifier: what it was trained on, how good it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.config import TrainPrmConfig
from verifier.rows import RowCounts


def write_card(
    config: TrainPrmConfig, read: RowCounts, trained: Mapping[str, int], metrics: Mapping[str, Any]
) -> str:
    """Text of README.md beside an adapter."""
    return f"# Verifier\n\n{config.base}\n{read.kept}\n{dict(trained)}\n{dict(metrics)}\n"
