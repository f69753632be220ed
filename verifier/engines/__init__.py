"""Scoring engines: what a verifier's scores can be read with, besides transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from verifier.config import PublishedConfig

Scorer = Literal["transformers", "vllm", "server"]
SCORERS: tuple[Scorer, ...] = get_args(Scorer)


def require_scorer(scorer: Scorer, verifier: str, published: PublishedConfig) -> None:
    """Refuse what an engine cannot do, before anything is sampled or loaded for it.

    Args:
        scorer: what is to run the verifier.
        verifier: as the user calls it.
        published: how a published verifier is to be loaded.

    Raises:
        ShepherdError: for an engine that is not installed, an adapter on its base (which has to be merged
            first), and a quantization that only transformers does.
    """
    from verifier.places import find_place

    place = find_place(verifier)
    if scorer == "transformers":
        return
    if scorer == "vllm":
        from shepherd.extras import require_vllm

        require_vllm()
    else:
        from shepherd.extras import require

        require("server")
    if place.kind == "trained":
        raise ShepherdError(
            f"{verifier}: an adapter and its base, and scorer={scorer} runs one merged model; run shepherd "
            f"export {verifier} --out DIR, and give DIR as the verifier"
        )
    if place.kind == "published" and published.quantization != "none":
        raise ShepherdError(
            f"{verifier}: published.quantization={published.quantization}, and scorer={scorer} runs the "
            "checkpoint as it is; set published.quantization=none"
        )
