"""A LoRA adapter in memory and on disk, as peft writes it: the same weights are the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shepherd.errors import ShepherdError
from shepherd.files import atomic_write, read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def write_adapter(folder: Path, model: Any, base: str, state: Mapping[str, Tensor] | None = None) -> None:
    """Write the adapter of a peft model into `folder`.

    The configuration is without this machine's paths.

    Args:
        folder: receives ``adapter_model.safetensors`` and ``adapter_config.json``.
        model: peft model.
        base: name of the model the adapter is for.
        state: the model's state, where peft is not to judge its shapes: a layer that AdaLoRA left no rank
            looks broken to it.
    """
    import peft

    weights = peft.get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False)
    plain = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config["default"].to_dict().items()
        if key != "runtime_config"
    }
    plain |= {"base_model_name_or_path": base, "inference_mode": True}
    write_tensors(folder / WEIGHTS, weights)
    with atomic_write(folder / CONFIG) as handle:
        handle.write(json.dumps(plain, indent=2, sort_keys=True) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors in the order of their names, so that the same tensors are the same bytes."""
    from safetensors.torch import save as to_bytes

    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    with atomic_write(path, "wb") as handle:
        handle.write(to_bytes(plain, metadata={"format": "pt"}))


def find_adapter(name: str) -> Path:
    """The folder that holds ``adapter_config.json``: itself, or the ``adapter`` folder of a run.

    Raises:
        ShepherdError: if there is none.
    """
    for place in (Path(name), Path(name) / "adapter"):
        if (place / CONFIG).is_file() and (place / WEIGHTS).is_file():
            return place
    raise ShepherdError(
        f"adapter {name}: no {CONFIG} and {WEIGHTS} there; give a run of shepherd sft, or the folder of a "
        "LoRA adapter saved by peft"
    )


def put_adapter(model: Any, name: str, model_name: str) -> Any:
    """Put an adapter on `model`, unmerged; gives the model back, its layers now with the adapter in them.

    Args:
        model: the model the adapter was trained on.
        name: see `find_adapter`.
        model_name: how errors name the model.

    Raises:
        ShepherdError: if it does not fit the model.
    """
    import peft
    import torch

    folder = find_adapter(name)
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws an adapter before it reads one
            return peft.PeftModel.from_pretrained(model, str(folder)).get_base_model()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        said = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise ShepherdError(
            f"adapter {name}: made for {_base_of(folder)}, and does not fit the model {model_name}: "
            f"{said[:160]}"
        ) from error


def _base_of(folder: Path) -> str:
    return str(read_json(folder / CONFIG).get("base_model_name_or_path") or "an unnamed model")


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """The adapter's weights, copied."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """Give the adapter these weights, and `dtype` if there is one."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data if dtype is None else parameter.data.to(dtype)
            parameter.data.copy_(weights[name])
