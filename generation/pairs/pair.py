"""A pair: an accepted and a rejected continuation of one prompt, in TRL's preference shape.

``prompt``, ``chosen`` and ``rejected`` are what TRL reads (texts, or turns of a chat); the other keys say
where the pair comes from. A file with TRL's three keys alone can be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shepherd.errors import at
from shepherd.fields import is_finite, text_of
from shepherd.steps import split

Turn = tuple[str, str]
"""Role and text of one turn of a chat."""

PromptText = str | tuple[Turn, ...]
"""What both sides continue: a text, or the turns of a chat (the last of them may be the assistant's own)."""


def has_steps(text: str) -> bool:
    r"""Is there anything to learn in a side? Blanks and step tags alone are no step.

    Example:
        >>> has_steps(" Step 1: 2 + 2 = 4 ки"), has_steps(" ки \n ки")
        (True, False)
    """
    return bool(split(text).steps)


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
        """Hash of what is learnt from the pair, and of nothing else: pairs with one key are duplicates."""
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
        """Read a pair; ``where`` and ``line`` are for the error.

        Raises:
            ShepherdError: for a row that is no pair, or from which nothing can be learnt.
        """
        for name in ("prompt", "chosen", "rejected"):
            if name not in row:
                raise at(where, line, f'no "{name}" field; {_NEEDS}')
        prompt = _prompt(row["prompt"], where, line)
        chosen, rejected = (_side(row, name, prompt, where, line) for name in ("chosen", "rejected"))
        if chosen.text == rejected.text:
            raise at(where, line, '"chosen" and "rejected" are the same text; nothing tells them apart')
        if chosen.candidate and chosen.candidate == rejected.candidate:
            raise at(where, line, f"both sides are candidate {chosen.candidate!r:.40}; a pair is made of two")
        number = _or(row, "round", 0)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise at(where, line, f'"round" must be a whole number from 0 on, found {number!r:.40}')
        problem, verifier, why = (
            text_of(_or(row, name, ""), name, where, line) for name in ("problem", "verifier", "why")
        )
        return cls(prompt, chosen, rejected, problem, number, verifier, why)


_NEEDS = "a pair needs prompt, chosen and rejected: three texts, or three lists of turns"
_ROLES = ("system", "user", "assistant")


def _or(row: Mapping[str, Any], name: str, unknown: object) -> Any:
    """What a row says of where it comes from; null is as good as nothing."""
    value = row.get(name)
    return unknown if value is None else value


def _prompt(value: object, where: str, line: int) -> PromptText:
    """The prompt of a row: a text, or turns."""
    if isinstance(value, list):
        if not value:
            raise at(where, line, f'"prompt" has no turns; {_NEEDS}')
        return tuple(_turn(each, f"prompt[{index}]", where, line) for index, each in enumerate(value))
    text = text_of(value, "prompt", where, line)
    if not text.strip():
        raise at(where, line, f'"prompt" is empty; {_NEEDS}')
    return text


def _side(row: Mapping[str, Any], name: str, prompt: PromptText, where: str, line: int) -> Side:
    """One side of a row, of the same kind as its prompt."""
    value = row[name]
    if isinstance(prompt, str):
        if isinstance(value, list):
            raise at(where, line, f'"prompt" is a text and "{name}" a list; {_NEEDS}')
        text = text_of(value, name, where, line)
    else:
        if not isinstance(value, list):
            raise at(where, line, f'"prompt" is a list of turns and "{name}" is none; {_NEEDS}')
        if len(value) != 1:
            raise at(where, line, f'"{name}" must be one turn of the assistant, found {len(value)} turns')
        role, text = _turn(value[0], f"{name}[0]", where, line)
        if role != "assistant":
            raise at(where, line, f"{name}[0].role must be assistant, found {role}")
    if not has_steps(text):
        raise at(where, line, f'"{name}" is empty: blanks and step tags alone; take the pair out')
    end, score = _or(row, f"{name}_ends", True), row.get(f"{name}_score")
    if not isinstance(end, bool):
        raise at(where, line, f'"{name}_ends" must be true or false, found {end!r:.40}')
    if score is not None and not (is_finite(score) and 0 <= score <= 1):
        raise at(where, line, f'"{name}_score" must be in [0, 1] or null, found {score!r:.40}')
    candidate = text_of(_or(row, f"{name}_candidate", ""), f"{name}_candidate", where, line)
    return Side(text, end, candidate, None if score is None else float(score))


def _turn(value: object, name: str, where: str, line: int) -> Turn:
    """Role and text of one turn of a chat."""
    if not isinstance(value, Mapping) or not {"role", "content"} <= value.keys():
        raise at(where, line, f'{name} must be {{"role": …, "content": …}}, found {value!r:.40}')
    if value["role"] not in _ROLES:
        raise at(where, line, f"{name}.role must be {', '.join(_ROLES)}, found {value['role']!r:.40}")
    text = text_of(value["content"], f"{name}.content", where, line)
    if not text.strip():
        raise at(where, line, f"{name}.content is empty; take the turn out, or write what it says")
    return value["role"], text
