"""Samplers behind one small protocol: prompts in, candidates out.

An engine is imported only when it is asked for, so that a command which samples nothing loads no torch.
Left out on purpose: streaming, beams and logits processors. Best-of-n needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from shepherd.errors import ShepherdError
from shepherd.records import Candidate
from shepherd.serving import ServerConfig, VllmConfig

ENGINES = ("transformers", "vllm", "server")


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


def load_engine(
    engine: str,
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    vllm: VllmConfig | None = None,
    server: ServerConfig | None = None,
    trust_remote_code: bool = False,
) -> Engine:
    """Load the sampler ``engine`` with ``model``.

    Args:
        engine: One of `ENGINES`.
        model: ``embedded:weak``, a folder, or a name on the Hugging Face hub.
        device: ``auto`` is CUDA where there is one, else the CPU.
        dtype: ``auto`` is the checkpoint's own, and float32 on the CPU.
        vllm: How the engine ``vllm`` runs the model.
        server: Where the engine ``server`` finds it.
        trust_remote_code: Run code that comes with the model.

    Raises:
        ShepherdError: for an engine that is unknown or not installed.
    """
    require_engine(engine)
    if engine == "vllm":
        from generation.engines.vllm import VllmEngine

        return VllmEngine.load(model, vllm, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    if engine == "server":
        from generation.engines.server import ServerEngine

        return ServerEngine.connect(model, server or ServerConfig())
    from generation.engines.transformers import TransformersEngine

    return TransformersEngine.load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def require_engine(engine: str) -> None:
    """Refuse an engine that is unknown or not installed, before a run is made for it.

    Example:
        >>> require_engine("transformers")
    """
    if engine == "vllm":
        from shepherd.extras import require_vllm

        require_vllm()
    if engine == "server":
        from shepherd.extras import require

        require("server")
    if engine not in ENGINES:
        raise ShepherdError(f"engine: {engine!r} is unknown; choose one of {', '.join(ENGINES)}")
