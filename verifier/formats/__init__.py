"""Published verifiers, each by the input format its authors documented; one file a format.

A format is recognised by the model's name or by its ``config.json``. What is not recognised is refused, with
the formats that could be asked for: a base model read as a verifier would give scores that look like scores.
No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shepherd.errors import ShepherdError
from verifier.formats.format import Format
from verifier.formats.math_shepherd import MathShepherd
from verifier.formats.qwen_math_prm import QwenMathPrm
from verifier.formats.rlhflow import RlhFlow
from verifier.formats.trl import Trl

__all__ = ["FORMATS", "Format", "recognise"]

FORMATS: dict[str, type[Format]] = {each.name: each for each in (MathShepherd, RlhFlow, QwenMathPrm, Trl)}


def recognise(name: str, config: Mapping[str, Any], asked: str = "auto") -> type[Format]:
    """The format of a checkpoint.

    Args:
        name: its folder or its name on the hub.
        config: its ``config.json``.
        asked: a format's name, which settles it, or ``auto``.

    Raises:
        ShepherdError: if no format claims it; every format is named.

    Example:
        >>> recognise("peiyi9979/math-shepherd-mistral-7b-prm", {}).name
        'math-shepherd'
        >>> recognise("my/prm", {"architectures": ["Qwen2ForProcessRewardModel"]}).name
        'qwen2.5-math-prm'
    """
    if asked != "auto":
        return FORMATS[asked]
    for known in FORMATS.values():
        if known.claims(name, config):
            return known
    kind = ", ".join(map(str, config.get("architectures") or ["no architecture"]))
    raise ShepherdError(
        f"{name}: a checkpoint ({kind}) that no format claims by name or config.json; "
        f"if it is a verifier, say which with --set format=NAME: {', '.join(FORMATS)}"
    )
