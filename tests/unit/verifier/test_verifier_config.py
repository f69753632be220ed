"""Every shipped config loads, and what cannot go together is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shepherd.config import configs_folder, dump_yaml, list_configs, load_config
from shepherd.errors import ShepherdError
from verifier.config import ScoreConfig, TrainPrmConfig


@pytest.mark.parametrize("name", list_configs("train_prm"))
def test_every_training_config_loads(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = load_config(TrainPrmConfig, "train_prm", name)
    path = tmp_path_factory.mktemp("config") / "again.yaml"
    path.write_text(dump_yaml(config), "utf-8")
    assert load_config(TrainPrmConfig, "train_prm", str(path)) == config


@pytest.mark.parametrize("name", list_configs("score"))
def test_every_scoring_config_loads(name: str) -> None:
    load_config(ScoreConfig, "score", name)


@pytest.mark.parametrize("family", ["train_prm", "score"])
def test_every_header_has_a_launch_command_memory_and_two_overrides(family: str) -> None:
    for path in (configs_folder() / family).glob("*.yaml"):
        header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
        commands = [line for line in header if line.startswith("#   shepherd ")]
        assert len(commands) >= 3, path
        assert any("emory" in line for line in header), path


def test_overrides_are_checked_all_at_once() -> None:
    with pytest.raises(ShepherdError) as caught:
        load_config(
            TrainPrmConfig, "train_prm", "embedded", ["learning_rte=1", "lora.rank=0", "quantization=int4"]
        )
    said = str(caught.value)
    assert "did you mean learning_rate?" in said
    assert "lora.rank" in said
    assert "quantization" in said


def test_early_stopping_needs_held_out_rows() -> None:
    with pytest.raises(ShepherdError, match="early_stopping needs held-out rows"):
        load_config(TrainPrmConfig, "train_prm", "embedded", ["eval_fraction=0", "early_stopping.patience=2"])


def test_a_few_of_each_question_need_its_order() -> None:
    with pytest.raises(ShepherdError, match="question_solutions without its order: set group_by=question"):
        load_config(TrainPrmConfig, "train_prm", "embedded", ["question_solutions=4"])
    asked = ["question_solutions=4", "group_by=question"]
    assert load_config(TrainPrmConfig, "train_prm", "embedded", asked).question_solutions == 4


def test_importing_the_room_rows_and_config_loads_no_torch() -> None:
    code = (
        "import sys, verifier, verifier.data.rows, verifier.tags, verifier.config, verifier.cli; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
