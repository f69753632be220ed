"""How the engines that are not transformers are reached: vLLM in this process, or a server over HTTP."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

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
        api_key_env: environment variable that holds the key; the key itself is never written anywhere. In
            capitals, so that a key put here by mistake is refused.
        timeout_s: of one request, from its first byte to the last of its answer.
        retries: after a failure that may pass (429, 5xx, a timeout, a cut connection), with backoff.
        backoff_s: pause before the first retry; doubled each time, up to 30 s, with jitter.
        concurrency: most requests under way.
        max_n: candidates asked for in one request; null for all of a problem, 1 for an endpoint that refuses
            more.
        seeds: send a seed with each request; off for an endpoint that refuses them.
        logprobs: ask for log-likelihoods; off for an endpoint that refuses them.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # what is refused may be a key

    base_url: str = "http://127.0.0.1:8000/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = Field(120.0, gt=0, allow_inf_nan=False)
    retries: int = Field(5, ge=0)
    backoff_s: float = Field(0.5, ge=0, allow_inf_nan=False)
    concurrency: int = Field(8, ge=1)
    max_n: int | None = Field(None, ge=1)
    seeds: bool = True
    logprobs: bool = True

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        """No message repeats the URL: it may hold the very key that must not be shown."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or not re.fullmatch(r"[!-~]+", url):
            raise ValueError("must be a URL as http://127.0.0.1:8000/v1")
        if "@" in url or "?" in url or "#" in url:
            raise ValueError(
                "must be host and path alone: it is written into the run directory, so no user, password or "
                "query may stand in it; put the key into the environment variable that api_key_env names"
            )
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError(
                "must be the name of an environment variable in capitals, as OPENAI_API_KEY; never a key"
            )
        return name
