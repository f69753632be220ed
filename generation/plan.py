"""What sampling and reranking would do and take; the ``--dry-run`` of this room's commands."""

from __future__ import annotations

from pathlib import Path

from generation.compare.config import CompareConfig
from generation.config import (
    EMBEDDED_PROBLEMS,
    DemoConfig,
    GenerateConfig,
    ProblemsConfig,
    PromptConfig,
    RerankConfig,
    SamplerConfig,
    ScoredConfig,
)
from shepherd.config import load_config
from shepherd.hub import NotAtHandError, cache_alone
from shepherd.problems import GSM8K
from verifier.config import TrainPrmConfig
from verifier.dry_run import Fact, Plan, Stage, Unknown
from verifier.estimate import Base, Batch, sampling_memory
from verifier.machine import find_machine
from verifier.plan import no_shape, plan_training, scoring_stage
from verifier.shape import find_shape

QUESTION_TOKENS = 160
"""Tokens of a question, where no data says it: most of GSM8K's have 60, the longest about 250."""

CHARACTERS_A_TOKEN = 3
"""Of the text around the question. English has about 4; fewer make more tokens, so this errs upwards."""


def plan_sampling(config: GenerateConfig) -> Plan:
    """What `shepherd generate` would do."""
    return Plan(_candidates(config, config.n), sampling_stages(config, config.n), config.device)


def plan_rerank(config: RerankConfig) -> Plan:
    """What `shepherd rerank` would do: its stages run one after the other, and each gives its memory back."""
    stages: tuple[Stage, ...] = ()
    facts: dict[str, Fact] = {}
    if config.pool.file is None:
        from generation.rerank import SAMPLED_N

        n = config.n or SAMPLED_N
        facts, stages = _candidates(config, n), sampling_stages(config, n)
    if config.scores is None and config.verifier is not None:
        stages += (verifier_stage(config),)
    return Plan(facts, stages, config.device)


def plan_demo(config: DemoConfig) -> Plan:
    """What `shepherd demo` would do."""
    training = load_config(TrainPrmConfig, "train_prm", config.training.config, config.training.overrides)
    planned = plan_training(training)
    stages = planned.stages
    for name, generator in (("weak", config.weak), ("strong", config.strong)):
        sampler = SamplerConfig(model=generator.model, sampling=generator.sampling, problems=config.problems)
        stages += tuple(
            stage._replace(name=f"sampling, {name}") for stage in sampling_stages(sampler, config.n)
        )
    scoring = RerankConfig(verifier=config.verifier)
    stages += (
        scoring_stage(
            config.verifier, None, scoring.batch_tokens, published=scoring.published, device=scoring.device
        ),
    )
    steps = {
        f"training_{name}": value for name, value in planned.facts.items() if name in ("steps", "tokens")
    }
    return Plan({**steps, **problems_of(config.problems)}, stages)


def plan_compare(config: CompareConfig) -> Plan:
    """What `shepherd compare` would do: each generator samples, then each verifier scores."""
    facts: dict[str, Fact] = {}
    stages: tuple[Stage, ...] = ()
    for generator in config.generators:
        cells = [config.cell(generator, verifier) for verifier in config.verifiers] or [
            config.cell(generator)
        ]
        plans = [plan_rerank(cell) for cell in cells]
        facts |= {f"{generator}_{name}": value for name, value in plans[0].facts.items()}
        for verifier, plan in zip(config.verifiers or ("",), plans, strict=True):
            for stage in plan.stages:
                scoring = stage.name == "scoring"
                if scoring or plan is plans[0]:  # candidates are sampled once
                    name = (
                        f"{stage.name}, {generator}, {verifier}" if scoring else f"{stage.name}, {generator}"
                    )
                    stages += (stage._replace(name=name),)
    return Plan(facts, stages)


def verifier_stage(config: ScoredConfig) -> Stage:
    """Memory of scoring by the verifier that a config names."""
    return scoring_stage(
        str(config.verifier),
        config.verifier_shape,
        config.batch_tokens,
        published=config.published,
        device=config.device,
        key="verifier_shape",
    )


def sampling_stages(config: SamplerConfig, n: int) -> tuple[Stage, ...]:
    """Memory of one sampled batch; none for an engine that takes a share of the card, or is elsewhere."""
    if config.engine != "transformers":
        return ()
    shape = find_shape(config.model, config.shape)
    if shape is None:
        return (Stage("sampling", no_shape(config.model)),)
    dtype = config.dtype
    if dtype == "auto":
        machine = find_machine(config.device)
        dtype = "float32" if machine is not None and machine.device == "cpu" else "bfloat16"
    batch = Batch(
        problems=max(1, config.chunk // n),
        n=n,
        prompt_tokens=prompt_tokens(config.prompt),
        new_tokens=config.sampling.max_new_tokens,
        top_p=config.sampling.top_p,
    )
    return (Stage("sampling", sampling_memory(Base(shape, "none", dtype), batch)),)


def prompt_tokens(prompt: PromptConfig) -> int:
    """About how many tokens a prompt has: a long question, and the text around it.

    Example:
        >>> prompt_tokens(PromptConfig())
        164
    """
    around = sum(len(text) for text in _texts(prompt.model_dump()))
    return QUESTION_TOKENS + -(-around // CHARACTERS_A_TOKEN)


def _texts(value: object) -> list[str]:
    """Every text in a config, however deep."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in _texts(part)]


def _candidates(config: SamplerConfig, n: int) -> dict[str, Fact]:
    """Problems, candidates, and the most tokens they can have."""
    facts = problems_of(config.problems)
    problems = facts["problems"]
    if isinstance(problems, int):
        most = problems * n * config.sampling.max_new_tokens
        facts |= {"candidates": problems * n, "tokens_at_most": most}
    else:
        facts |= {"candidates": problems, "tokens_at_most": problems}
    return facts


def problems_of(config: ProblemsConfig) -> dict[str, Fact]:
    """How many problems there are, where their source is on this machine."""
    if config.source == "embedded":
        return {"problems": EMBEDDED_PROBLEMS if config.limit is None else config.limit}
    if config.source != GSM8K and not Path(config.source).exists():
        return {"problems": Unknown("the data is", f"{config.source} is not on this machine")}
    from generation.generate import load_problems

    try:
        with cache_alone():
            return {"problems": len(load_problems(config))}
    except NotAtHandError:
        return {"problems": Unknown("the data is", f"{config.source} is not on this machine")}
