"""Merge an adapter into its base, in 16 or 32 bits.

A base in 4 bits is refused, whoever brings it: merging there rounds base and adapter to 4 bits together, and
what comes out is neither (TRL issue 3466). The base of a QLoRA adapter is loaded once more, unquantized.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shepherd.assets import resolve_model
from shepherd.errors import ShepherdError
from verifier import model as models


def merge(base: Any, adapter: Path) -> Any:
    """Add an adapter to the weights of its base, in the base's dtype.

    Args:
        base: the bare model, unquantized; it is changed in place.
        adapter: folder of a peft adapter (LoRA, AdaLoRA).

    Returns:
        The model, without a trace of peft.

    Raises:
        ShepherdError: for a quantized base, an adapter that does not fit, and weights that become NaN.
    """
    import peft

    if _is_quantized(base):
        raise ShepherdError(
            f"{adapter}: its base is loaded in 4 or 8 bits; adapters are merged into the 16-bit base only, "
            "so load it with quantization none"
        )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # drawn, then read
            # peft 0.21 looks for AdaLoRA's layers under LoRA's names, and reads them all the same.
            warnings.filterwarnings("ignore", "The following rank_pattern keys", RuntimeWarning)
            adapted = peft.PeftModel.from_pretrained(base, str(adapter))
        merged = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, KeyError) as error:
        raise ShepherdError(f"{adapter}: cannot be merged ({models.first_line(error)})") from error
    merged.requires_grad_(False)
    return merged.eval()


def load_unquantized(name: str, dtype: str = "auto", *, trust_remote_code: bool = False) -> Any:
    """Load a base on the CPU, ready to be merged into.

    Args:
        name: a folder, a hub name, or ``embedded:…``.
        dtype: a key of `verifier.model.DTYPES`; ``auto`` is the checkpoint's own.
        trust_remote_code: run code that comes with the base.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolve_model(name), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ShepherdError(
            f"{name}: no base can be loaded ({models.first_line(error)}); say where it lies with --base"
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise ShepherdError(
            f"{name}: this checkpoint is quantized itself, so nothing can be merged into it; "
            "give the 16-bit model it was made from with --base"
        )
    own = str(config.dtype).removeprefix("torch.")
    chosen = own if dtype == "auto" and own in models.DTYPES else dtype
    base = models.load_base(
        name,
        quantization="none",
        dtype="float32" if chosen == "auto" else chosen,
        device=torch.device("cpu"),
        trust_remote_code=trust_remote_code,
    )
    base.config.use_cache = True
    return base


def _is_quantized(model: nn.Module) -> bool:
    return any(parameter.dtype not in models.DTYPES.values() for parameter in model.parameters())
