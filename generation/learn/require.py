"""What a run that learns needs to be here, before anything is sampled."""

from __future__ import annotations

from generation.config import ScoredConfig
from generation.engines import require_engine
from verifier.adapter import find_adapter
from verifier.encoder import load_encode
from verifier.engines.require import require_scorer
from verifier.model import load_tokenizer


def require(config: ScoredConfig) -> None:
    """Refuse what could not be done: rollouts, scores or the measuring at the end.

    Raises:
        ShepherdError: for an engine or a scorer that is not here, a model that is none, a verifier whose tag
            contract does not fit its tokenizer, and an adapter that is none.
    """
    load_tokenizer(config.model, trust_remote_code=config.trust_remote_code)
    require_engine(config.engine)
    if config.adapter is not None:
        find_adapter(config.adapter)
    if config.verifier is None:
        return
    require_scorer(config.scorer, config.verifier, config.published)
    if config.scorer == "transformers":
        encode = load_encode(config.verifier, format=config.format, published=config.published)
        list(encode([("?", ["1 + 1 = 2"])]))
