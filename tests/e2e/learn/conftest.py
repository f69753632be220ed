"""Runs of `shepherd sft` on a few embedded problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli


@pytest.fixture
def sft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run sft on a hundred problems for two steps; later options win."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        keys = ["max_steps=2", "limit=100", "batch_size=4", "lora.rank=4", "eval_limit=5", "threads=1"]
        options = [part for key in keys for part in ("--set", key)]
        return CliRunner().invoke(cli, ["sft", *options, *arguments])

    return run
