"""What `shepherd grpo` can be told: every shipped YAML, and what cannot be."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.evaluations import Evaluation, last_good
from generation.learn.grpo.samplers import pick_rollout
from shepherd.config import configs_folder, load_config
from shepherd.errors import ShepherdError


@pytest.mark.parametrize(
    "path", sorted((configs_folder() / "grpo").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_config_loads(path: object) -> None:
    config = load_config(GrpoConfig, "grpo", str(path))
    assert config.most_batches >= 1
    assert config.problems.split == "train"


def test_the_recipe_for_8b_is_the_one_that_is_asked_for() -> None:
    config = load_config(GrpoConfig, "grpo", "llama-3.1-8b")
    assert (config.update.quantization, config.update.lora.rank, config.update.lora.alpha) == ("nf4", 64, 64)
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert config.update.lora.targets == names
    assert config.per_device * config.accumulation == config.batch
    assert config.sampling.temperature > 0
    assert {"outcome", "soft_format", "short_response"} <= set(config.rewards.weights())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("generations=3", "per_device × accumulation = 64 must divide prompts × generations = 48"),
        ("generations=1", "generations"),
        ("per_device=48", "per_device × accumulation = 48 must divide"),
        ("rollouts=100", "rollouts: 100 are fewer than one generation batch, prompts × generations = 128"),
        ("sampling.temperature=0", "greedy completions of a prompt are all the same"),
        ("sampling.top_p=0.9", "the loss is that of the whole distribution"),
        ("engine=server", "a server does not hold the policy"),
        ("verifier=null", "the rewards verifier and process need one"),
        ("rewards.custom={nothing: 1}", "a custom reward is module:function"),
        ("update.lora.kind=adalora", "TRL's trainers hand out no ranks"),
        ("update.beta=-1", "update.beta"),
        ("sentinels.windw=3", "did you mean window?"),
    ],
)
def test_what_cannot_be_is_one_line(key: str, said: str) -> None:
    with pytest.raises(ShepherdError) as error:
        load_config(GrpoConfig, "grpo", "embedded", ["per_device=64", "prompts=16", "generations=8", key])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_steps_and_batches_follow_from_the_sizes() -> None:
    update = {"num_iterations": 3}
    config = GrpoConfig(prompts=6, generations=4, per_device=4, accumulation=2, rollouts=100, update=update)
    assert (config.batch, config.steps_a_batch, config.most_batches) == (24, 9, 4)


def test_the_line_that_says_which_engine_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_rollout(GrpoConfig(rollout="transformers")) == (
        "transformers",
        "rollouts by transformers, as the config asks",
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    engine, why = pick_rollout(GrpoConfig())
    assert engine == "transformers"
    assert why == (
        "rollouts by transformers, not vLLM: the extra vllm is not installed "
        "(pip install 'shepherd-prm[vllm]')"
    )
    with pytest.raises(ShepherdError, match="rollout: vllm cannot sample here: the extra"):
        pick_rollout(GrpoConfig(rollout="vllm"))


def test_vllm_samples_only_where_trl_can_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with CUDA and vLLM, of a version that TRL warns of or not."""
    import warnings

    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert "CUDA" in pick_rollout(GrpoConfig(device="cpu"))[1]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    known = ModuleType("trl.import_utils")
    monkeypatch.setitem(sys.modules, "trl", ModuleType("trl"))
    monkeypatch.setitem(sys.modules, "trl.import_utils", known)
    known.__dict__["is_vllm_available"] = lambda: True
    assert pick_rollout(GrpoConfig())[0] == "vllm"
    four_bit = GrpoConfig(update={"quantization": "nf4"})
    assert "4-bit base" in pick_rollout(four_bit)[1]
    known.__dict__["is_vllm_available"] = lambda: warnings.warn("TRL supports others.\nMore", stacklevel=1)
    assert pick_rollout(GrpoConfig()) == (
        "transformers",
        "rollouts by transformers, not vLLM: TRL supports others",
    )


def test_the_adapter_that_is_kept_is_the_best_one_seen_in_time() -> None:
    found = [Evaluation(0, 0.5), Evaluation(4, 0.7), Evaluation(8, 0.6), Evaluation(12, 0.9)]
    assert last_good(found, before=11) == Evaluation(4, 0.7)
    assert last_good(found, before=3) == Evaluation(0, 0.5)
    assert last_good(found, before=12) == Evaluation(12, 0.9)
