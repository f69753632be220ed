from __future__ import annotations

from pathlib import Path
from typing import Literal

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shepherd import config as config_module
from shepherd.config import Config, configs_folder, dump_yaml, list_configs, load_config
from shepherd.errors import ShepherdError


class Lora(Config):
    rank: int = pydantic.Field(16, ge=1)
    targets: tuple[str, ...] = ("q_proj", "v_proj")


class Other(Config):
    width: int = 1


class Training(Config):
    learning_rate: float = pydantic.Field(1e-4, gt=0)
    model_folder: str = "embedded:base"
    loss: Literal["vocab", "pair"] = "vocab"
    lora: Lora = Lora()
    head: Lora | Other | None = None
    seed: int = 0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.seed == 13:
            raise ValueError("seed 13 is not allowed; take another")
        return self


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped configs with one family."""
    folder = tmp_path / "configs"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "embedded.yaml").write_text(
        "# shepherd train\nlearning_rate: 1e-3\nlora:\n  rank: 8\n"
    )
    (folder / "train" / "empty.yaml").write_text("")
    monkeypatch.setattr(config_module, "configs_folder", lambda: folder)
    return folder


def test_defaults_give_way_to_yaml_and_yaml_to_the_command_line(shipped: Path) -> None:
    assert load_config(Training, "train", "empty") == Training()
    assert load_config(Training, "train", "embedded") == Training(learning_rate=1e-3, lora=Lora(rank=8))
    overrides = ["lora.rank=4", "loss=pair", "learning_rate=2e-5", "lora.targets=[q_proj]", "head.width=3"]
    assert load_config(Training, "train", "embedded", overrides) == Training(
        learning_rate=2e-5, loss="pair", lora=Lora(rank=4, targets=("q_proj",)), head=Other(width=3)
    )
    assert load_config(Training, "train", "embedded", ["head="]).head is None


def test_a_file_can_lie_anywhere(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5")
    assert load_config(Training, "train", str(tmp_path / "mine.yaml")).seed == 5


def test_all_faults_are_told_at_once_each_with_its_key(shipped: Path) -> None:
    (shipped / "train" / "embedded.yaml").write_text(
        "learning_rte: 1\nlora: {rnk: 4, rank: 0}\nhead: {widht: 3}\nloss: both\nzzz: 1\n"
    )
    overrides = ["seed=x", "lora.target=1", "nonsense", "seed.deeper=1"]
    with pytest.raises(ShepherdError) as raised:
        load_config(Training, "train", "embedded", overrides)
    lines = str(raised.value).splitlines()
    assert "--set nonsense: expected key=value, as in --set a.b=1" in lines
    assert "--set seed.deeper=1: seed has no keys of its own" in lines
    assert "train/embedded.yaml: learning_rte: unknown key; did you mean learning_rate?" in lines
    assert "train/embedded.yaml: lora.rnk: unknown key; did you mean rank?" in lines
    assert "--set: lora.target: unknown key; did you mean targets?" in lines
    assert "train/embedded.yaml: lora.rank: input should be greater than or equal to 1, found 0" in lines
    assert "train/embedded.yaml: loss: input should be 'vocab' or 'pair', found 'both'" in lines
    assert any(
        line.startswith("train/embedded.yaml: zzz: unknown key; known are: head, learning_rate,")
        for line in lines
    )
    assert any(
        line.startswith("train/embedded.yaml: head.Other.widht: unknown key; did you mean width?")
        for line in lines
    )
    assert any(line.startswith("--set: seed: input should be a valid integer") for line in lines)


def test_a_rule_between_keys_says_what_it_says(shipped: Path) -> None:
    with pytest.raises(
        ShepherdError, match=r"^train/embedded.yaml: the config: seed 13 is not allowed; take another$"
    ):
        load_config(Training, "train", "embedded", ["seed=13"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1\nseed: 2\n", r'embedded.yaml:2: not valid YAML: key "seed" is there twice'),
        ("lora: {rank: 1, rank: 2}", r'embedded.yaml:1: not valid YAML: key "rank" is there twice'),
        ("seed: [1\nloss: pair", r"embedded.yaml:2: not valid YAML: "),
        ("- seed", r"embedded.yaml:1: expected keys and values, found list"),
        ("seed: \x00", r"embedded.yaml: cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_config_is_named(shipped: Path, content: str, message: str) -> None:
    (shipped / "train" / "embedded.yaml").write_text(content)
    with pytest.raises(ShepherdError, match=message):
        load_config(Training, "train", "embedded")


def test_a_name_that_is_not_shipped_gets_a_suggestion(shipped: Path) -> None:
    with pytest.raises(
        ShepherdError, match=r"^--config embeded: no config of this name; did you mean embedded\?$"
    ):
        load_config(Training, "train", "embeded")
    with pytest.raises(
        ShepherdError, match=r"^--config mistral: no config of this name; there are: embedded, empty"
    ):
        load_config(Training, "train", "mistral")
    with pytest.raises(ShepherdError, match=r"^x/y.yaml: no such config file; shipped are: embedded, empty$"):
        load_config(Training, "train", "x/y.yaml")
    assert list_configs("train") == ["embedded", "empty"]


@given(
    st.builds(
        Training,
        learning_rate=st.floats(1e-12, 1e12),
        model_folder=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
        seed=st.integers().filter(lambda seed: seed != 13),
        lora=st.builds(Lora, rank=st.integers(1, 512)),
    )
)
def test_a_dumped_config_is_read_back_the_same(config: Training) -> None:
    assert Training.model_validate(yaml.load(dump_yaml(config), config_module._Loader)) == config


def test_a_config_does_not_change() -> None:
    with pytest.raises(pydantic.ValidationError):
        Training().seed = 5  # type: ignore[misc]


def test_every_shipped_yaml_says_how_it_is_started() -> None:
    """Its header holds the launch command; each family's own tests load it."""
    for path in configs_folder().rglob("*.yaml"):
        header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
        assert any("shepherd " in line for line in header), path
