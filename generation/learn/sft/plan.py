"""What fine-tuning would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from pathlib import Path

from generation.learn.sft.config import SftConfig
from shepherd.hub import NotAtHandError, cache_alone
from shepherd.problems import EMBEDDED, GSM8K, read_raw
from verifier.dry_run import Fact, Plan, Stage, Unknown
from verifier.estimate import Base, Step, training_memory
from verifier.plan import adapter_of, no_shape
from verifier.shape import find_shape, local_folder, parameters

_WORK = ("rows_to_train_on", "rows_held_out", "solution_tokens", "tokens", "steps")


def plan_sft(config: SftConfig) -> Plan:
    """What `shepherd sft` would do; tokens and steps where data and tokenizer are on this machine."""
    with cache_alone():
        facts = _work(config)
    shape = find_shape(config.base, config.shape)
    if shape is None:
        return Plan(facts, (Stage("training", no_shape(config.base)),), config.device)
    adapter = adapter_of(config.lora, shape)
    tokens = config.batch_size * config.max_length
    # TRL's loss has logits at every token, where a verifier's has them at its tags alone.
    step = Step(tokens, tokens, "vocab", config.optimizer, config.gradient_checkpointing, config.accumulation)
    memory = training_memory(Base(shape, config.quantization, config.dtype), adapter, step)
    counted: dict[str, Fact] = {
        "trainable_parameters": adapter.parameters,
        "parameters": parameters(shape).total + adapter.parameters,
    }
    return Plan({**counted, **facts}, (Stage("training", memory),), config.device)


def _work(config: SftConfig) -> dict[str, Fact]:
    """Rows, tokens and steps; all unknown where data or tokenizer are not on this machine."""
    if not _at_hand(config.data):
        return dict.fromkeys(_WORK, Unknown("the data is", f"{config.data} is not on this machine"))
    folder = local_folder(config.base)
    if folder is None:
        unknown = Unknown("the model is", f"the tokenizer of {config.base} is not on this machine")
        return dict.fromkeys(_WORK, unknown)
    from generation.learn.sft.prepare import prepare  # torch takes seconds to import

    counts = prepare(config.model_copy(update={"base": str(folder)})).counts()
    train, held = counts["train"], counts["heldout"]
    values = (train["rows"], held["rows"], train["solution_tokens"], counts["tokens"], counts["steps"])
    return dict(zip(_WORK, values, strict=True))


def _at_hand(data: str) -> bool:
    if data != GSM8K:
        return data == EMBEDDED or Path(data).exists()
    try:
        read_raw(data, "train")
    except NotAtHandError:
        return False
    return True
