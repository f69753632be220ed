"""What an engine can score, said before anything is sampled or loaded for it. No torch here."""

from __future__ import annotations

from shepherd.errors import ShepherdError
from shepherd.extras import require, require_vllm
from verifier.config import PublishedConfig
from verifier.engines import Scorer
from verifier.places import find_place


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
    place = find_place(verifier)
    if scorer == "transformers":
        return
    if scorer == "vllm":
        require_vllm()
    else:
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
