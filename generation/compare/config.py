"""What `shepherd compare` compares. No torch is imported here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from generation.config import ProblemsConfig, RerankConfig
from shepherd.config import Config, load_config
from shepherd.errors import ShepherdError

ALONE = "none"
"""Name of the cell of a generator without a verifier."""
GIVEN = "scores"
"""Name of the cell whose scores were given with the pool."""


class GeneratorConfig(Config):
    """One generator, or the pool that it left.

    Attributes:
        config: a config of `shepherd rerank`: model, engine, prompt, sampling, and how answers are read.
        overrides: what differs from it, as ``--set`` takes it: ``pool.file=FILE`` for candidates made before.
    """

    config: str = "embedded"
    overrides: tuple[str, ...] = ()


class VerifierConfig(Config):
    """One verifier.

    Attributes:
        verifier: as `shepherd rerank --verifier` takes it.
        overrides: what differs from the generator's config for it: ``format``, ``published.…``, ``scorer``.
    """

    verifier: str = Field("embedded", min_length=1)
    overrides: tuple[str, ...] = ()


class CompareConfig(Config):
    """Generators, verifiers, and what all of them share.

    Attributes:
        generators: by name, in the order of the tables; differences are of each with those before it.
        verifiers: by name; the first is the one that the sentences speak of. With none, majority vote and
            pass@n are compared.
        problems: which problems every generator answers; null leaves it to their configs. Pools bring their
            own, and only problems that all of them have are compared.
        n: candidates a problem; null is 16 where candidates are sampled, else the smallest pool's size.
        bootstrap: resamples for the intervals.
        threads: of the verifiers on the CPU; null leaves it to the generators' configs.
        store: read candidates and scores that the store has, and keep those that are made.
    """

    generators: dict[str, GeneratorConfig] = Field(min_length=2)
    verifiers: dict[str, VerifierConfig] = Field(default_factory=dict)
    problems: ProblemsConfig | None = None
    n: int | None = Field(None, ge=1)
    bootstrap: int = Field(10_000, ge=100)
    threads: int | None = Field(None, ge=1)
    store: bool = True
    seed: int = Field(0, ge=0)

    @field_validator("generators", "verifiers")
    @classmethod
    def _names(cls, named: Mapping[str, object]) -> Mapping[str, object]:
        for name in named:
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
                raise ValueError(f"{name!r} is no name for a row; use letters, digits, '-', '.' and '_'")
        return named

    @field_validator("verifiers")
    @classmethod
    def _own_names(cls, named: Mapping[str, object]) -> Mapping[str, object]:
        for name in (ALONE, GIVEN):
            if name in named:
                raise ValueError(f"{name!r} is what the cells without a verifier of their own are called")
        return named

    def cell(self, generator: str, verifier: str | None = None) -> RerankConfig:
        """What `shepherd rerank` would be told for one generator and one verifier.

        Raises:
            ShepherdError: with the names of both, if that is no config.
        """
        values: dict[str, object] = {"seed": self.seed, "store": self.store, "controls": {}}
        values |= {"n": self.n, "evaluation.bootstrap": self.bootstrap}
        values |= {} if self.threads is None else {"threads": self.threads}
        if self.problems is not None:
            values |= {f"problems.{key}": value for key, value in self.problems.model_dump().items()}
        mine = self.generators[generator]
        overrides = [*mine.overrides]
        if verifier is None:
            values["verifier"] = None
        else:
            values |= {"verifier": self.verifiers[verifier].verifier, "scores": None}
            overrides += self.verifiers[verifier].overrides
        given = (f"{key}={json.dumps(value)}" for key, value in values.items())
        try:
            return load_config(RerankConfig, "rerank", mine.config, [*overrides, *given])
        except ShepherdError as error:
            who = generator if verifier is None else f"{generator} with {verifier}"
            raise ShepherdError(f"{who}: {error}") from error
