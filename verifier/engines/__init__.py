"""Scoring engines: what a verifier's scores can be read with, besides transformers."""

from __future__ import annotations

from typing import Literal, get_args

Scorer = Literal["transformers", "vllm", "server"]
SCORERS: tuple[Scorer, ...] = get_args(Scorer)
