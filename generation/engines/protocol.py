"""What samplers are asked and what they offer: prompts in, candidates out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from shepherd.records import Candidate


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is to continue, and the name its random numbers are drawn under.

    Attributes:
        key: The problem's id. Candidate i of a key draws the same numbers in whatever batch it is sampled.
        text: The prompt itself, before the tokenizer adds its BOS.
        chat: Put the text into the tokenizer's chat template, as the last user turn.
        system: What the system turn says; "" for none.
        examples: Earlier (user, assistant) turns: the few shots of a chat.
    """

    key: str
    text: str
    chat: bool = False
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """The turns of a chat, as chat templates and servers take them.

        Example:
            >>> Prompt("p1", "2 + 2?", chat=True, system="Be brief.").messages()
            [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': '2 + 2?'}]
        """
        turns = [("system", self.system)] if self.system else []
        for question, solution in self.examples:
            turns += [("user", question), ("assistant", solution)]
        return [{"role": role, "content": text} for role, text in [*turns, ("user", self.text)]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token, always.
        top_p: Nucleus: the smallest set of tokens whose probabilities, after temperature, sum to at least
            ``top_p``.
        max_new_tokens: Tokens sampled at most; a candidate that reaches it has the finish reason ``length``.
        stop: Texts that end a candidate; the text is cut before the first of them.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()


class Engine(Protocol):
    """A sampler. ``generate`` is one batch: what shares one is part of the plan, so the caller decides it."""

    @property
    def name(self) -> str:
        """The model, as candidates name their generator."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> list[list[Candidate]]:
        """Sample candidates ``first`` to ``first + n - 1`` of every prompt, in the order of the prompts."""
        ...

    def close(self) -> None:
        """Give back what the engine holds (memory, processes)."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """A sampler whose prompts are finished one by one, so that an error costs none that came before it."""

    def stream(
        self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, first: int = 0
    ) -> Iterator[list[Candidate]]:
        """As `generate`, each prompt's candidates as soon as they and all before them are there."""
        ...
