"""Every shipped config of `shepherd sft` loads, says how it is launched, and survives being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.learn.sft.config import SftConfig
from shepherd.config import configs_folder, dump_yaml, list_configs, load_config


@pytest.mark.parametrize("name", list_configs("sft"))
def test_a_shipped_config_loads(name: str, tmp_path: Path) -> None:
    config = load_config(SftConfig, "sft", name)
    written = tmp_path / "config.yaml"
    written.write_text(dump_yaml(config))
    assert load_config(SftConfig, "sft", str(written)) == config
    header = (configs_folder() / "sft" / f"{name}.yaml").read_text("utf-8").partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "#   shepherd sft" in header
    assert header.count(" --set ") >= 1
    assert "emory" in header


def test_the_prompt_of_tinyllama_is_the_one_its_header_samples_with() -> None:
    config = load_config(SftConfig, "sft", "tinyllama-gsm8k")
    header = (configs_folder() / "sft" / "tinyllama-gsm8k.yaml").read_text("utf-8")
    assert f"'prompt.template=\"{config.prompt.template}\"'".replace("\n", "\\n") in header
    assert f"--set model={config.base} " in header
