"""How the engines that are not transformers are reached: vLLM in this process, or a server over HTTP."""

from __future__ import annotations

from pydantic import Field

from shepherd.config import Config


class VllmConfig(Config):
    """vLLM in this process.

    Attributes:
        adapter: LoRA adapter folder; null for the model alone.
        max_model_len: most tokens of prompt and solution; null is the model's own.
        gpu_memory_utilization: share of the GPU's memory it takes.
        prefix_caching: keep what prompts share.
        enforce_eager: no compilation: starts in seconds, samples slower.
        tensor_parallel: GPUs the model is spread over.
    """

    adapter: str | None = None
    max_model_len: int | None = Field(None, ge=1)
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    prefix_caching: bool = True
    enforce_eager: bool = False
    tensor_parallel: int = Field(1, ge=1)


class ServerConfig(Config):
    """Any OpenAI-compatible endpoint.

    Attributes:
        base_url: up to and with ``/v1``.
        api_key_env: environment variable that holds the key; the key itself is never written anywhere.
        timeout_s: of one request.
        retries: after a failure that may pass (429, 5xx, a timeout, a cut connection), with backoff.
        concurrency: most requests under way.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    timeout_s: float = Field(120.0, gt=0)
    retries: int = Field(5, ge=0)
    concurrency: int = Field(8, ge=1)
