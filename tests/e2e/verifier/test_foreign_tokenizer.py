"""A verifier trained under one vocabulary refuses the tokenizer of another before a score is made."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from shepherd.cli import cli
from verifier import load_verifier

WAYS = {"spaced signs apart": {}, "other merges": {"extra": ("one two three",)}, "fewer": {"vocab_size": 330}}


@pytest.fixture(scope="module")
def trained(tiny: ModuleType, tiny_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of train-prm under a vocabulary in which signs take the newline."""
    base, out = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("runs") / "trained"
    tiny.build_base(base)
    tiny.make_tokenizer(tiny.SIGNS_TAKE_NEWLINES).save_pretrained(base)
    keys = ["max_steps=2", "batch_tokens=700", "tensorboard=false", f"base={base}", "threads=1"]
    keys += ["lora.rank=4", "lora.targets=all-linear", "limit=60", "quantization=none"]
    options = [part for key in keys for part in ("--set", key)]
    done = CliRunner().invoke(cli, ["train-prm", "--data", str(tiny_rows), *options, "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out / "verifier"


@pytest.mark.parametrize("way", WAYS)
def test_another_tokenizer_in_the_folder_is_refused(
    way: str, trained: Path, tiny: ModuleType, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "verifier")
    assert load_verifier(str(folder)).score("How many?", ["1 + 1 = 2."])[0][0] > 0
    shutil.rmtree(folder / "tokenizer")
    tiny.make_tokenizer(**WAYS[way]).save_pretrained(folder / "tokenizer")
    arguments = ["score", "--verifier", str(folder), "--question", "How many?", "--solution", "1 + 1 = 2."]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr == (
        f"error: {folder}: the tokenizer is not the one this verifier was trained with "
        "(fingerprint differs); restore the folder's own tokenizer files, or train again\n"
    )
