"""Every shipped config of `shepherd pairs` loads, says how it is launched, and survives being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation.pairs.config import PairUpConfig, UnionConfig
from shepherd.config import configs_folder, dump_yaml, list_configs, load_config
from shepherd.errors import ShepherdError


@pytest.mark.parametrize("name", list_configs("pairs"))
def test_it_loads_and_is_the_same_when_it_was_written(name: str, tmp_path: Path) -> None:
    config = load_config(PairUpConfig, "pairs", name)
    written = tmp_path / "config.yaml"
    written.write_text(dump_yaml(config))
    assert load_config(PairUpConfig, "pairs", str(written)) == config
    header = (configs_folder() / "pairs" / f"{name}.yaml").read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "shepherd pairs" in header
    assert header.count("--set") >= 2


def test_the_shipped_default_is_the_default() -> None:
    config = load_config(PairUpConfig, "pairs", "embedded")
    assert config == PairUpConfig(threads=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pairs.margin=2", "--set: pairs.margin: input should be less than or equal to 1, found 2"),
        ("pairs.how=worst", "--set: pairs.how: input should be 'best_worst', 'above_margin' or 'steps'"),
        (
            "pairs.max_length_ratio=0.5",
            "--set: pairs.max_length_ratio: input should be greater than or equal",
        ),
        ("pairs.max_per_problem=0", "--set: pairs.max_per_problem: input should be greater than or equal"),
        ("pairs.margn=1", "--set: pairs.margn: unknown key; did you mean margin?"),
        ("pool.file=null", "the config: pool.file: pairs are made of a pool"),
        ("verifier=null", "the config: verifier: pairs need scores"),
    ],
)
def test_a_key_that_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ShepherdError) as error:
        load_config(PairUpConfig, "pairs", "embedded", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_by_round_survive_being_written(tmp_path: Path) -> None:
    config = UnionConfig(weights={1: 0.5, 2: 1.0})
    written = tmp_path / "config.yaml"
    written.write_text(dump_yaml(config))
    assert load_config(UnionConfig, "pairs", str(written)) == config
