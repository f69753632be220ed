"""Load a published verifier: recognise its format, load its model natively, and score like any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shepherd.errors import ShepherdError
from shepherd.files import read_json
from verifier import model as models
from verifier.config import PublishedConfig
from verifier.formats import recognise
from verifier.formats.checkpoint import NEEDED, Checkpoint, locate, own_dtype
from verifier.formats.format import Format
from verifier.scoring import Verifier
from verifier.tags import fingerprint

_TRIAL = [("What is 1 + 1?", ("Step 1: 1 + 1 = 2.",))]


def load_published(
    name: str,
    folder: Path | None,
    *,
    format: str = "auto",
    options: PublishedConfig | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Verifier:
    """Load a published verifier.

    Args:
        name: as the user gave it; scores do not depend on it.
        folder: where it lies; None for a name on the hub.
        format: a key of `verifier.formats.FORMATS`, or ``auto``.
        options: quantization, dtype, separator.
        device: ``auto`` is CUDA where there is one.
        trust_remote_code: run the checkpoint's own code where transformers has none for it.
    """
    options = options or PublishedConfig()
    checkpoint = locate(name, folder, with_code=trust_remote_code)
    config = read_json(checkpoint.folder / "config.json")
    known = recognise(name, config, format)
    tokenizer = models.load_tokenizer(str(checkpoint.folder), trust_remote_code=trust_remote_code)
    written = known(tokenizer, options)
    where = models.pick_device(device)
    dtype = own_dtype(options.dtype, config, where.type)
    model = load_model(
        checkpoint.folder,
        known.auto_class,
        quantization=options.quantization,
        dtype=dtype,
        device=where,
        trust_remote_code=trust_remote_code,
    )
    reader = models.TagReader(model, written.head(model, checkpoint.folder))
    (trial,) = written.encode(_TRIAL)
    at = torch.from_numpy(trial.tags).long().to(reader.device)
    models.check_head(reader, torch.from_numpy(trial.ids[None]).long().to(reader.device), at)
    return Verifier(reader, written.encode, identify(known, checkpoint, tokenizer, options, dtype), name)


def identify(
    known: type[Format], checkpoint: Checkpoint, tokenizer: Any, options: PublishedConfig, dtype: str
) -> str:
    """Short hash of all that decides a published verifier's scores."""
    decides = {
        "format": known.name,
        "weights": checkpoint.identity,
        "tokenizer": fingerprint(tokenizer),
        "quantization": options.quantization,
        "dtype": dtype,
        "separator": options.separator if known.name == "trl" else None,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def load_model(
    folder: Path,
    auto_class: str,
    *,
    quantization: str,
    dtype: str,
    device: torch.device,
    trust_remote_code: bool = False,
) -> Any:
    """A frozen model in eval mode, every one of whose weights comes from the folder.

    Args:
        folder: config, weights.
        auto_class: name of a transformers class, as ``AutoModel``.
        quantization: as in the config; heads stay unquantized.
        dtype: a key of `verifier.model.DTYPES`.
        device: where it goes.
        trust_remote_code: passed on.
    """
    import transformers

    arguments: dict[str, Any] = {"dtype": models.DTYPES[dtype], "device_map": {"": str(device)}}
    if quantization != "none":
        arguments["quantization_config"] = models.nf4(
            models.DTYPES[dtype], skip=["lm_head", "score"], double=quantization == "nf4"
        )
    models.quiet_bitsandbytes()
    with quiet_transformers():
        try:
            model, report = getattr(transformers, auto_class).from_pretrained(
                folder, output_loading_info=True, trust_remote_code=trust_remote_code, **arguments
            )
        except (OSError, ValueError) as error:
            raise ShepherdError(
                f"{folder}: no model can be loaded ({models.first_line(error)}); needed are {NEEDED}"
            ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ShepherdError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are not in its files "
            f"({missing[0]} …); they would be random; copy every file of the checkpoint, or name its format"
        )
    if quantization != "none":
        models.keep_autograd_on_cpu(model)
    model.config.use_cache = False
    return model.eval().requires_grad_(False)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from reporting what is checked here (weights left unused), and from showing bars."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
