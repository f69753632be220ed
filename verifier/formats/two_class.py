"""Classifier heads of two classes, in fp32 whatever the body's dtype is."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from shepherd.errors import ShepherdError

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class TwoClass:
    """A `Head` whose classes are turned so that good comes first.

    Args:
        classifier: hidden states (n_tags, d) to logits (n_tags, 2).
        good_class: which of the two is good.
    """

    def __init__(self, classifier: nn.Module, good_class: int) -> None:
        linear = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
        if not linear or linear[-1].out_features != 2:
            found = linear[-1].out_features if linear else type(classifier).__name__
            raise ShepherdError(f"the classifier has {found} classes, expected 2 (bad and good)")
        self.classifier = classifier.float()
        self.order = [good_class, 1 - good_class]

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """Logits of good and bad in fp32, shape ``(n_tags, 2)``, of ``hidden`` (n_tags, d)."""
        logits: Tensor = self.classifier(hidden.float())
        return logits[:, self.order]


def read_two_layers(folder: Path, device: torch.device) -> nn.Sequential:
    """The classifier Linear(d, d), ReLU, Linear(d, 2): ``score.0`` and ``score.2`` of a checkpoint."""
    names = [f"score.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")]
    found = {name: _read(folder, name) for name in names}
    width = found["score.0.weight"].shape[0]
    expected = {
        "score.0.weight": (width, width),
        "score.0.bias": (width,),
        "score.2.weight": (2, width),
        "score.2.bias": (2,),
    }
    for name, tensor in found.items():
        if tuple(tensor.shape) != expected[name]:
            raise ShepherdError(
                f"{folder}: {name} has shape {tuple(tensor.shape)}, expected {expected[name]}; "
                "this is another classifier than Qwen2.5-Math-PRM's"
            )
    layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)).to(device)
    layers.load_state_dict({name.removeprefix("score."): tensor for name, tensor in found.items()})
    return layers.requires_grad_(False)


def _read(folder: Path, name: str) -> Tensor:
    """One tensor from the checkpoint's file that holds it."""
    from safetensors import SafetensorError, safe_open

    index = folder / _INDEX
    file = _SINGLE
    if index.is_file():
        file = json.loads(index.read_text("utf-8"))["weight_map"].get(name, _SINGLE)
    try:
        with safe_open(folder / file, "pt") as handle:
            tensor: Tensor = handle.get_tensor(name)
            return tensor.float()
    except (OSError, SafetensorError) as error:
        raise ShepherdError(
            f"{folder / file}: has no tensor {name} ({str(error).splitlines()[0][:120]}); "
            "the format's classifier is read from *.safetensors"
        ) from error
