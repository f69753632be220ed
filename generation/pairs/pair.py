"""A pair: an accepted and a rejected continuation of one prompt, in TRL's preference shape.

``prompt``, ``chosen`` and ``rejected`` are what TRL reads (texts, or turns of a chat); the other keys say where
the pair comes from. A file with TRL's three keys alone can be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shepherd.errors import at

Turn = tuple[str, str]
"""Role and text of one turn of a chat."""

PromptText = str | tuple[Turn, ...]
"""What both sides continue: a text, or the turns of a chat (the last of them may be the assistant's own)."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two continuations.

    Attributes:
        text: what the generator wrote after the prompt, with the blank it begins with.
        ends: the generator ended there itself, so that its end token is learnt too.
        candidate: which candidate it is (of), as ``round-1/p17/3``; "" where nobody knows.
        score: of the solution, or of the step, in [0, 1]; None where nobody knows.
    """

    text: str
    ends: bool = True
    candidate: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """An accepted and a rejected continuation of one prompt.

    Attributes:
        prompt: what both continue.
        chosen: the accepted side.
        rejected: the other.
        problem: id of the problem; "" where nobody knows.
        round: the round it was made in, from 1; 0 where nobody knows.
        verifier: id of the verifier that scored it.
        why: the rule that chose it.
    """

    prompt: PromptText
    chosen: Side
    rejected: Side
    problem: str = ""
    round: int = 0
    verifier: str = ""
    why: str = ""

    @property
    def key(self) -> str:
        """Hash of all that is learnt from the pair, and of nothing else: pairs with one key are duplicates."""
        learnt = [
            self.prompt,
            *([side.text, side.ends] for side in (self.chosen, self.rejected)),
        ]
        text = json.dumps(learnt, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The pair as a JSON object: TRL's keys, then where it comes from."""
        row: dict[str, Any] = {}
        if isinstance(self.prompt, str):
            row |= {"prompt": self.prompt, "chosen": self.chosen.text, "rejected": self.rejected.text}
        else:
            row["prompt"] = [{"role": role, "content": text} for role, text in self.prompt]
            for name, side in (("chosen", self.chosen), ("rejected", self.rejected)):
                row[name] = [{"role": "assistant", "content": side.text}]
        for name, side in (("chosen", self.chosen), ("rejected", self.rejected)):
            row |= {
                f"{name}_ends": side.ends,
                f"{name}_candidate": side.candidate,
                f"{name}_score": side.score,
            }
        return row | {
            "problem": self.problem,
            "round": self.round,
            "verifier": self.verifier,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str, line: int) -> Pair:
        """Read a pair; ``where`` and ``line`` are for the error."""
        for field in ("prompt", "chosen", "rejected"):
            if field not in row:
                raise at(where, line, f'no "{field}" field; a pair needs prompt, chosen and rejected')
        raise NotImplementedError
