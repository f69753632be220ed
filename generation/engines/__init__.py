"""Samplers behind one small protocol: prompts in, candidates out.

An engine is imported only when it is asked for, so that a command which samples nothing loads no torch.
Left out on purpose: beams and logits processors. Best-of-n needs none of them.
"""

from __future__ import annotations

from generation.config import SamplerConfig
from generation.engines.protocol import Engine, Prompt, Sampling, StreamingEngine
from shepherd.errors import ShepherdError

__all__ = ["ENGINES", "Engine", "Prompt", "Sampling", "StreamingEngine", "load_engine", "require_engine"]

ENGINES = ("transformers", "vllm", "server")


def load_engine(config: SamplerConfig) -> Engine:
    """Load the sampler that a config names, with its model.

    Raises:
        ShepherdError: for an engine that is not installed, and a model or adapter that cannot be loaded.
    """
    require_engine(config.engine)
    if config.engine == "vllm":
        from generation.engines.vllm import VllmEngine

        return VllmEngine.load(
            config.model,
            config.vllm,
            adapter=config.adapter,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
        )
    if config.engine == "server":
        from generation.engines.server import ServerEngine

        if config.adapter is not None:
            raise ShepherdError("adapter: a server holds its own; name it as the server does, in model")
        return ServerEngine.connect(config.model, config.server)
    from generation.engines.transformers import TransformersEngine

    return TransformersEngine.load(
        config.model,
        adapter=config.adapter,
        device=config.device,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
    )


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
