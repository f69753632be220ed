"""Do the engines at hand give a verifier the same scores? Golden texts, the largest difference, a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from shepherd.errors import ShepherdError
from shepherd.serving import ServerConfig, VllmConfig
from verifier.engines import Scorer
from verifier.golden_texts import GOLDEN_TEXTS

TOLERANCE = 1e-3
"""An engine whose scores are further from transformers in float32 is refused."""


@dataclass(frozen=True, slots=True)
class Parity:
    """One engine against transformers in float32.

    Attributes:
        engine: the scorer.
        steps: step scores that were compared.
        largest: difference; None where the engine gave no scores.
        seconds: loading and scoring.
        problem: why it gave none; "" where it did.
    """

    engine: Scorer
    steps: int
    largest: float | None
    seconds: float
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Is it near enough to be used?"""
        return self.largest is not None and self.largest <= TOLERANCE

    def line(self) -> str:
        """The verdict in one line.

        Example:
            >>> print(Parity("vllm", 40, 0.25, 61.0).line())
            vllm: largest difference 0.25 over 40 steps, above 0.001: refused; score with scorer=transformers
        """
        if self.largest is None:
            return f"{self.engine}: {self.problem}"
        found = f"{self.engine}: largest difference {self.largest:.2g} over {self.steps} steps"
        if self.ok:
            return f"{found} ({self.seconds:.0f} s)"
        return f"{found}, above {TOLERANCE:g}: refused; score with scorer=transformers"


def installed_scorers() -> list[Scorer]:
    """The engines that can run here: transformers always, vLLM where it is installed.

    A server is no part of the installation: it is compared where the caller names it.
    """
    from shepherd.extras import require_vllm

    try:
        require_vllm()
    except ShepherdError:
        return ["transformers"]
    return ["transformers", "vllm"]


def parity(
    verifier: str,
    engines: Sequence[Scorer] | None = None,
    *,
    vllm: VllmConfig | None = None,
    server: ServerConfig | None = None,
    served_as: str | None = None,
    **how: Any,
) -> list[Parity]:
    """Score the golden texts through every engine, and compare with transformers in float32 on the CPU.

    Args:
        verifier: as `load_verifier` takes it. An adapter on a 4-bit base is compared as it is; for vLLM and
            servers it has to be exported.
        engines: which; None for `installed_scorers`.
        vllm: how vLLM runs it.
        server: where a server holds it.
        served_as: its name there.
        how: ``format``, ``published`` and ``trust_remote_code`` of `load_verifier`.

    Returns:
        One verdict an engine, in their order. What an engine cannot do is a verdict too.
    """
    from verifier import load_verifier

    wanted = _flat(_reference(verifier, how))
    found = []
    for engine in installed_scorers() if engines is None else engines:
        started = time.monotonic()
        options = {**how, "scorer": engine, "vllm": vllm, "server": server, "served_as": served_as}
        try:
            with closing(load_verifier(verifier, **options)) as loaded:
                got = _flat(loaded.score_many(GOLDEN_TEXTS))
        except ShepherdError as error:
            found.append(Parity(engine, 0, None, time.monotonic() - started, str(error)))
            continue
        largest = max(abs(mine - theirs) for mine, theirs in zip(got, wanted, strict=True))
        found.append(Parity(engine, len(wanted), largest, time.monotonic() - started))
    return found


def _reference(verifier: str, how: dict[str, Any]) -> list[list[list[float]]]:
    """Scores in float32 on the CPU."""
    from verifier import load_verifier
    from verifier.config import PublishedConfig
    from verifier.places import find_place

    if find_place(verifier).kind == "exported":
        from verifier.export.folder import load

        return load(verifier, device="cpu", dtype="float32").score_many(GOLDEN_TEXTS)
    options: PublishedConfig = how.get("published") or PublishedConfig()
    exact = options.model_copy(update={"dtype": "float32", "quantization": "none"})
    with closing(load_verifier(verifier, **{**how, "device": "cpu", "published": exact})) as loaded:
        return loaded.score_many(GOLDEN_TEXTS)


def _flat(scores: list[list[list[float]]]) -> list[float]:
    return [step for item in scores for solution in item for step in solution]
