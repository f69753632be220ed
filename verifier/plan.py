"""What a training or a scoring would do and take, before anything is read that is not on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shepherd.errors import ShepherdError
from shepherd.files import read_json
from shepherd.hub import cache_alone
from verifier.batches import supervised
from verifier.config import LoraConfig, PublishedConfig, ScoreConfig, TrainPrmConfig
from verifier.data.sources import locate
from verifier.description import read_description
from verifier.dry_run import ASKED_GIB, Fact, Plan, Stage, Unknown
from verifier.estimate import (
    GIB,
    Adapter,
    Base,
    Estimate,
    Step,
    adapted_linears,
    scoring_memory,
    scoring_tokens,
    training_memory,
)
from verifier.export.description import read_description as read_exported
from verifier.formats.checkpoint import own_dtype
from verifier.machine import find_machine
from verifier.packing.passes import TILE, Packed, Work, plan_passes
from verifier.places import find_place
from verifier.shape import Shape, find_shape, linears, local_folder, parameters

if TYPE_CHECKING:
    from verifier.compare.config import CompareHeadsConfig
    from verifier.evaluate.config import EvalStepsConfig
    from verifier.prepare import Prepared

TOKENS_A_TAG = 25
"""Tokens a step, where no data says it: Math-Shepherd's steps have 30 and more in most vocabularies; fewer
tokens make more tags, so this errs upwards."""

SOLUTION_TOKENS = 512
"""Of the longest solution that is scored, where no training says it: what ``max_length`` is unless set."""

_HEAD_ROWS = {"lm": 0, "classifier": 2, "outcome": 1}
"""Trained rows of a head of its own, each with a bias."""

_STEPS_LAID_OUT = 8
"""Of all steps of a run: full ones are much alike."""

_WORK = ("rows_to_train_on", "rows_held_out", "labelled_steps", "tokens", "padding", "batches", "steps")


def no_shape(model: str, key: str = "shape") -> Unknown:
    """What is missing where neither the model nor the YAML says how large it is."""
    return Unknown(
        "the model is", f"{model} is not on this machine, or is no Llama, and {key} does not give its sizes"
    )


def plan_training(config: TrainPrmConfig) -> Plan:
    """What `shepherd train-prm` would do; tokens and steps where data and tokenizer are on this machine."""
    shape = find_shape(config.base, config.shape)
    with cache_alone():
        missing = _missing(config)
        prepared = _prepare(config) if missing is None else None
    facts: dict[str, Fact] = {}
    if shape is None:
        unknown = no_shape(config.base)
        facts |= {"trainable_parameters": unknown, "parameters": unknown}
        return Plan({**facts, **_work(prepared, missing)}, (Stage("training", unknown),), config.device)
    adapter = adapter_of(config.lora, shape)
    base = Base(shape, config.quantization, config.dtype)
    memory = memory_of(config, prepared, base, adapter)
    trained = adapter.parameters + _HEAD_ROWS[config.head] * (shape.hidden + 1)
    facts |= {"trainable_parameters": trained, "parameters": parameters(shape).total + trained}
    return Plan({**facts, **_work(prepared, missing)}, (Stage("training", memory),), config.device)


def plan_comparison(config: CompareHeadsConfig) -> Plan:
    """What `shepherd compare-heads` would do: a training a head, one after the other, then their scoring."""
    from verifier.compare.config import train_config

    plans = {head: plan_training(train_config(config.train, head)) for head in config.heads}
    facts: dict[str, Fact] = {}
    for head, plan in plans.items():
        facts |= {f"{head}_{name}": plan.facts[name] for name in ("trainable_parameters", "tokens", "steps")}
    stages = (
        each._replace(name=f"{each.name}, {head}") for head, plan in plans.items() for each in plan.stages
    )
    return Plan(facts, tuple(stages), config.train.device)


def adapter_of(lora: LoraConfig, shape: Shape) -> Adapter:
    """The adapter a config puts on a base: AdaLoRA begins with half as many ranks again, and a value each."""
    linears = adapted_linears(shape, lora.targets)
    if lora.kind == "lora":
        return Adapter(lora.rank, linears)
    from verifier.adalora import target_rank

    rank = lora.adalora.init_r or -(-3 * target_rank(lora) // 2)
    return Adapter(rank, linears, adaptive=True)


def plan_scoring(config: ScoreConfig) -> Plan:
    """What `shepherd score` would take."""
    stage = scoring_stage(
        config.verifier,
        config.shape,
        config.batch_tokens,
        published=config.published,
        device=config.device,
    )
    return Plan({"most_tokens_a_pass": config.batch_tokens}, (stage,), config.device)


def plan_evaluation(config: EvalStepsConfig) -> Plan:
    """What `shepherd eval-steps` would take; with scores from a file there is no model."""
    if config.scores is not None:
        return Plan({"scores": config.scores})
    stage = scoring_stage(
        config.verifier, config.shape, config.batch_tokens, published=config.published, device=config.device
    )
    return Plan({"most_tokens_a_pass": config.batch_tokens}, (stage,), config.device)


def scoring_stage(
    verifier: str,
    given: Shape | None,
    batch_tokens: int,
    *,
    published: PublishedConfig,
    device: str,
    key: str = "shape",
) -> Stage:
    """Memory of scoring with a verifier, of which only small files are read.

    Args:
        verifier: ``embedded``, a verifier folder, a training run, an export, or a published verifier.
        given: the YAML's shape of its base.
        batch_tokens: most tokens in one pass; where memory is small, passes are smaller.
        published: how a published verifier is loaded.
        device: where it goes.
        key: the YAML's key of the shape.
    """
    place = find_place(verifier)
    if place.kind == "trained" and place.folder is not None:
        described = read_description(place.folder)
        lora = read_json(place.folder / "adapter" / "adapter_config.json")
        shape = find_shape(described.base, given, key)
        if shape is None:
            return Stage("scoring", no_shape(described.base, key))
        adapter = Adapter(lora["r"], adapted_linears(shape, lora["target_modules"]))
        base = Base(shape, described.quantization, described.dtype)
        longest = min(described.max_length, shape.context)
        return Stage("scoring", _scoring_memory(base, adapter, batch_tokens, longest, device))
    shape = find_shape(verifier if place.folder is None else str(place.folder), given, key)
    if shape is None:
        return Stage("scoring", no_shape(verifier, key))
    if place.kind == "exported" and place.folder is not None:
        without_head = shape.model_copy(update={"tied": True})  # its output head is two rows
        base = Base(without_head, "none", read_exported(place.folder).dtype)
    else:
        base = Base(shape, published.quantization, _published_dtype(verifier, published, device))
    longest = min(SOLUTION_TOKENS, shape.context)
    return Stage("scoring", _scoring_memory(base, None, batch_tokens, longest, device))


def _scoring_memory(
    base: Base, adapter: Adapter | None, batch_tokens: int, longest: int, device: str
) -> Estimate:
    """Of a packed row of as many tokens as there is room for, whose solutions are the longest.

    On a CPU that is asked for; else on the card that is here, or that every plan is held against.
    """
    machine = find_machine("cpu" if device == "cpu" else "cuda")
    memory_bytes = ASKED_GIB * GIB if machine is None else machine.memory_bytes
    tokens = scoring_tokens(base, adapter, batch_tokens, memory_bytes, on_cpu=device == "cpu")
    return scoring_memory(base, adapter, max(tokens, longest), longest + TILE)


def _published_dtype(verifier: str, published: PublishedConfig, device: str) -> str:
    """As it will be loaded; bfloat16 where its config.json is not on this machine, as most are."""
    folder = local_folder(verifier)
    path = None if folder is None else folder / "config.json"
    config = read_json(path) if path is not None and path.is_file() else {"dtype": "bfloat16"}
    machine = find_machine(device)
    return own_dtype(published.dtype, config, "cuda" if machine is None else machine.device)


def _missing(config: TrainPrmConfig) -> Unknown | None:
    """What must be on this machine before rows can be counted as tokens; None if all is."""
    for source in filter(None, (config.data, config.heldout)):
        try:
            locate(source)
        except ShepherdError:
            return Unknown("the data is", f"{source} is not on this machine")
    if local_folder(config.base) is None:
        return Unknown("the model is", f"the tokenizer of {config.base} is not on this machine")
    return None


def _prepare(config: TrainPrmConfig) -> Prepared:
    """Rows, tokens and plan, with the tokenizer from where it lies: no hub is asked."""
    from verifier.prepare import prepare  # torch takes seconds to import

    return prepare(config.model_copy(update={"base": str(local_folder(config.base))}))


def memory_of(config: TrainPrmConfig, prepared: Prepared | None, base: Base, adapter: Adapter) -> Estimate:
    """Of the forward pass that takes most: of the plan's if there is one, else what the config allows."""
    if prepared is None:
        most = config.batch_tokens if config.is_pairwise else _tokens_a_pass(config)
        tokens = max(most, config.max_length)
        keys = config.max_length + TILE if config.group_by == "question" else 0
        read = {(tokens, -(-tokens // TOKENS_A_TAG), keys)}
    else:
        read = set(_largest_passes(config, prepared, _work_of(base.shape, adapter)))
    found = (
        training_memory(
            base,
            adapter,
            Step(
                tokens=tokens,
                tags=tags,
                loss=config.loss,
                optimizer=config.optimizer,
                gradient_checkpointing=config.gradient_checkpointing,
                accumulation=config.accumulation,
                keys_a_tile=keys,
            ),
        )
        for tokens, tags, keys in read
    )
    return max(found, key=lambda estimate: estimate.total)


def _largest_passes(config: TrainPrmConfig, prepared: Prepared, work: Work) -> Iterator[tuple[int, int, int]]:
    """Tokens, supervised positions and keys a tile of what is read before a backward pass.

    That is a pass, of the steps with the most tokens and of the one with the longest row; where pairs are
    learnt, all passes of a batch.
    """
    rows, lengths = prepared.train.flat, prepared.train.lengths
    read = sorted(prepared.read_together, key=lambda some: -int(lengths[some].sum()))
    longest = max(read, key=lambda some: int(lengths[some].max()))
    for some in [*read[:_STEPS_LAID_OUT], longest]:
        tagged = [rows.tagged(row) for row in some]
        passes = plan_passes([each.ids for each in tagged], _tokens_a_pass(config), work)
        for part in [passes] if config.is_pairwise else [[each] for each in passes]:
            members = [tagged[member] for each in part for member in each.members]
            yield (
                sum(each.tokens for each in part),
                sum(len(supervised(each).tags) for each in members),
                max(each.tiles.keys.shape[1] if isinstance(each, Packed) else 0 for each in part),
            )


def _tokens_a_pass(config: TrainPrmConfig) -> int:
    """On a CPU where that is asked for, else on a card: every plan is held against one."""
    return config.tokens_a_pass("cpu" if config.device == "cpu" else "cuda")


def _work_of(shape: Shape, adapter: Adapter) -> Work:
    """As the model that is loaded will count it."""
    weights = sum(each.inputs * each.outputs for each in linears(shape)) + adapter.parameters
    return Work(2.0 * weights, 4.0 * shape.layers * shape.query)


def _work(prepared: Prepared | None, missing: Unknown | None) -> dict[str, Fact]:
    """Rows, tokens and steps; all unknown where something is missing."""
    if prepared is None:
        return {} if missing is None else dict.fromkeys(_WORK, missing)
    counts = prepared.counts()
    train, held = counts["train"], counts["heldout"]
    values = (train["rows"], held["rows"], train["labelled_steps"], counts["tokens"], counts["padding"])
    return dict(zip(_WORK, (*values, counts["batches"], counts["steps"]), strict=True))
