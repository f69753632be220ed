"""What a command is asked: options become keys, whatever text they hold; a resumed run keeps its config."""

from pathlib import Path

import pytest

from generation.config import GenerateConfig
from shepherd.console import RunOptions
from shepherd.errors import ShepherdError
from shepherd.invocation import resolve


@pytest.mark.parametrize("name", ["m/\U0001f600", "ки", 'a "b"', "a: b", "null", "3", "tab\there"])
def test_any_text_survives_as_an_option(name: str) -> None:
    asked = resolve("generate", GenerateConfig, RunOptions(seed=7), {"model": name, "n": None})
    assert (asked.config.model, asked.config.seed, asked.run) == (name, 7, None)


def test_overrides_of_all_kinds_come_together() -> None:
    options = RunOptions(overrides=("n=3", "chunk=9"))
    asked = resolve("generate", GenerateConfig, options, {"n": 4}, ("chunk=10",))
    assert (asked.config.n, asked.config.chunk) == (4, 10)


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": ("n=3",)},
        {"seed": 1},
        {"config": "other"},
        {"dry_run": True},
    ],
)
def test_a_resumed_run_keeps_its_config(options: dict[str, object]) -> None:
    with pytest.raises(ShepherdError, match="--resume run: a resumed run keeps its config"):
        resolve("generate", GenerateConfig, RunOptions(resume=Path("run"), **options), {"n": None})  # type: ignore[arg-type]
    with pytest.raises(ShepherdError, match="--resume run: a resumed run keeps its config"):
        resolve("generate", GenerateConfig, RunOptions(resume=Path("run")), {"n": 3})
