"""How much a verifier has scored. No torch here: what was read from the store has counts too."""

from __future__ import annotations

from typing import NamedTuple


class ScoringCounts(NamedTuple):
    """What was scored, and what could not be."""

    solutions: int = 0
    steps: int = 0
    tokens: int = 0
    solutions_without_steps: int = 0
    steps_beyond_context: int = 0
