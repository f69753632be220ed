"""The policy: a generator with an adapter that is trained, and the name that tells it from every other."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shepherd.assets import resolve_model
from shepherd.errors import ShepherdError
from shepherd.files import sha256_file
from verifier.adapter import CONFIG, WEIGHTS, find_adapter

if TYPE_CHECKING:
    from generation.learn.config import PolicyConfig


def load_policy(
    name: str,
    config: PolicyConfig,
    *,
    adapter: Path | str | None,
    seed: int,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Any:
    """Load a base, frozen, with an adapter in fp32 that is to be trained.

    Args:
        name: the base: ``embedded:weak``, a folder or a hub name.
        config: its quantization and dtype, and the adapter's shape where it is a fresh one.
        adapter: to go on with (a folder of peft, or a run that holds one); None for a fresh one, which
            changes nothing before its first step.
        seed: draws a fresh adapter.
        device: ``auto``, ``cpu`` or ``cuda``.
        trust_remote_code: run code that comes with the base.

    Returns:
        A peft model whose one adapter is ``default``.

    Raises:
        ShepherdError: where base or adapter cannot be loaded, or do not fit each other.
    """
    import torch

    from verifier import model as models

    base = models.load_base(
        name,
        quantization=config.quantization,
        dtype=config.dtype,
        device=models.pick_device(device),
        trust_remote_code=trust_remote_code,
    )
    if adapter is None:
        model = models.add_lora(base, config.lora, seed)
    else:
        import peft

        folder = find_adapter(str(adapter))
        try:
            with torch.random.fork_rng(devices=[]):  # peft draws an adapter before it reads one
                model = peft.PeftModel.from_pretrained(base, str(folder), is_trainable=True)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            said = models.first_line(error)
            raise ShepherdError(f"adapter {adapter}: does not fit the model {name}: {said}") from error
    for parameter in models.trainable_parameters(model):
        parameter.data = parameter.data.float()
    return model


def policy_id(name: str, adapter: Path | str | None) -> str:
    """Short hash of a policy: of its base (files of a folder, else its name) and its adapter's weights.

    Two policies with the same id give the same distribution on the same machine and base in the same form: a
    base in 4 bits, as it may be trained, differs a little from the 16-bit one that samples. An adapter that
    was merged has another id.

    Example:
        >>> policy_id("embedded:weak", None) == policy_id("embedded:weak", None)
        True
        >>> policy_id("embedded:weak", None) == policy_id("embedded:strong", None)
        False
    """
    folder = Path(resolve_model(name))
    digest = hashlib.sha256()
    if folder.is_dir():
        for file in sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")]):
            digest.update(f"{file.name}\0{_digest_of_base(file)}\n".encode())
    else:
        digest.update(f"hub\0{name}\n".encode())
    if adapter is not None:
        place = find_adapter(str(adapter))
        for file in (place / CONFIG, place / WEIGHTS):
            digest.update(f"adapter\0{file.name}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()[:16]


_digests: dict[tuple[Path, int, int], str] = {}


def _digest_of_base(file: Path) -> str:
    """SHA-256, remembered while the file stays as it is: a base is large, and asked for in every round."""
    seen = file.stat()
    key = (file, seen.st_size, seen.st_mtime_ns)
    if key not in _digests:
        _digests[key] = sha256_file(file)
    return _digests[key]


def give_back_memory() -> None:
    """Free the policies that nobody names any more: a peft model and its parts hold each other.

    What comes next (a sampler, a 7B verifier, vLLM, which asks how much is free) needs the card for itself.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
