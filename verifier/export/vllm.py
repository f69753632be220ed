"""The arguments with which vLLM scores like an exported verifier, offline and as a server."""

from __future__ import annotations

import json
import shlex
from typing import Any

from verifier.export.folder import CLASSES
from verifier.tags import TagContract


def arguments(contract: TagContract, dtype: str) -> dict[str, Any]:
    """Keyword arguments of ``vllm.LLM``; ``pooler_config`` holds those of ``vllm.config.PoolerConfig``.

    STEP pooling gives the class probabilities at every tag. `returned_token_ids` is left out: it would pick
    columns of the two classes as if they were the vocabulary.
    """
    return {
        "runner": "pooling",
        "convert": "classify",
        "dtype": dtype,
        "pooler_config": {
            "task": "token_classify",
            "pooling_type": "STEP",
            "step_tag_id": contract.tag_id,
        },
    }


def serve_command(name: str, given: dict[str, Any]) -> str:
    """The same as a command line; scores come from ``POST /pooling`` with token ids as ``input``."""
    parts = ["vllm", "serve", name]
    for key, value in given.items():
        parts += [f"--{key.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
    return shlex.join(parts)


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
