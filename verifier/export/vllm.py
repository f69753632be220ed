"""The arguments with which vLLM scores like an exported verifier, offline and as a server."""

from __future__ import annotations

from typing import Any

from verifier.engines.vllm import serve_command, vllm_arguments
from verifier.export.description import CLASSES
from verifier.tags import TagContract


def arguments(contract: TagContract, dtype: str) -> dict[str, Any]:
    """Keyword arguments of ``vllm.LLM`` for an export whose weights are in ``dtype``."""
    return {**vllm_arguments(contract.tag_id), "dtype": dtype}


def describe(contract: TagContract, dtype: str) -> dict[str, Any]:
    """What ``vllm.json`` holds: the arguments, and what the numbers mean that come back."""
    given = arguments(contract, dtype)
    return {
        "arguments": given,
        "serve": serve_command("PATH_TO_THIS_FOLDER", given),
        "output": {
            "shape": ["steps", len(CLASSES)],
            "classes": list(CLASSES),
            "meaning": "class probabilities at each step's tag; the score is the second",
        },
    }
