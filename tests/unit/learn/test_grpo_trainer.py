"""TRL's GRPOTrainer with advantages a token: the same where they are constant, and only theirs where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from generation.engines.protocol import Prompt
from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.learnt import KEPT, Learnt
from generation.learn.grpo.samplers import TrlSampler
from generation.learn.grpo.trainer import GroupTrainer, arguments
from generation.learn.policy import load_policy
from generation.prompts import encode
from verifier.adapter import adapter_weights
from verifier.model import load_tokenizer, trainable_parameters

COMPLETIONS = [[12, 13, 14, 15, 2], [12, 16, 2], [20, 21, 22, 2], [12, 13, 30, 31, 32, 33]]
PROMPTS = [[1, 40, 41, 42], [1, 40, 41, 42], [1, 50], [1, 50]]
REWARDS = [1.0, 0.0, 0.25, 0.75]


def config_of(**keys: Any) -> GrpoConfig:
    """Two prompts of two completions, one optimizer step on two of them at a time."""
    update = {"learning_rate": 0.01, "lora": {"rank": 4}, "beta": 0.1, **keys.pop("update", {})}
    sizes = {"prompts": 2, "generations": 2, "per_device": 2, "rollouts": 4}
    return GrpoConfig(device="cpu", update=update, **(sizes | keys))


def policy(config: GrpoConfig) -> Any:
    """The weak generator with an adapter that does something."""
    model = load_policy("embedded:weak", config.update, adapter=None, seed=0, device="cpu")
    torch.manual_seed(1)
    for parameter in trainable_parameters(model):
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def group_trainer(config: GrpoConfig, model: Any, advantages: list[np.ndarray], folder: Path) -> GroupTrainer:
    """Our trainer on the fixed batch."""
    import datasets

    learnt = Learnt(PROMPTS, COMPLETIONS, None, {"outcome": REWARDS, KEPT: [1.0] * 4}, advantages)
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=config.update.learning_rate)
    return GroupTrainer(
        lambda _: learnt,
        {"outcome": 1.0},
        model=model,
        args=arguments(config, folder, steps=config.steps_a_batch, use_vllm=False),
        train_dataset=datasets.Dataset.from_dict({"prompt": [""] * 2}),
        processing_class=load_tokenizer("embedded:weak"),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
    )


def constant() -> list[np.ndarray]:
    """TRL's own advantages of the rewards (less the group's mean), on every token."""
    means = np.repeat(np.reshape(REWARDS, (2, 2)).mean(1), 2)
    return [np.full(len(ids), r - m) for ids, r, m in zip(COMPLETIONS, REWARDS, means, strict=True)]


@pytest.mark.parametrize(
    "keys",
    [
        {"update": {"loss_type": "dr_grpo"}},
        {"update": {"loss_type": "dapo", "num_iterations": 2}},
        {"update": {"loss_type": "grpo", "beta": 0.0}, "accumulation": 2},
    ],
    ids=["dr_grpo", "dapo twice", "grpo accumulated"],
)
def test_constant_advantages_train_as_the_base_class_does(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same adapter, bit for bit, after the same steps: same losses, gradients, and shuffled rows."""
    import datasets
    from trl import GRPOTrainer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    monkeypatch.setenv("CI", "1")  # TRL sends no telemetry then
    config = config_of(**keys)
    model = policy(config)
    started = adapter_weights(model)
    ours = group_trainer(config, model, constant(), tmp_path)
    ours.train()
    mine, losses = adapter_weights(model), [row["loss"] for row in ours.state.log_history if "loss" in row]

    model = policy(config)
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=config.update.learning_rate)
    base = GRPOTrainer(
        model=model,
        reward_funcs=[lambda **_: REWARDS],
        args=arguments(config, tmp_path, steps=config.steps_a_batch, use_vllm=False),
        train_dataset=datasets.Dataset.from_dict({"prompt": [""] * 2}),
        processing_class=load_tokenizer("embedded:weak"),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
        rollout_func=lambda *_: {"prompt_ids": PROMPTS, "completion_ids": COMPLETIONS, "logprobs": None},
    )
    base.train()
    theirs = adapter_weights(model)
    assert losses == [row["loss"] for row in base.state.log_history if "loss" in row]
    assert len(losses) == config.steps_a_batch
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert not all(torch.equal(started[name], theirs[name]) for name in theirs)


@pytest.fixture(scope="module")
def logprobs_moved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[np.ndarray]], Any]:
    """Gradient of the loss by the log-probability of each token, for given advantages."""
    config = config_of(per_device=4, update={"beta": 0.0})
    trainer = group_trainer(config, policy(config), constant(), tmp_path_factory.mktemp("trl"))

    rewards = {"outcome": REWARDS, KEPT: [1.0] * 4}

    def moved(advantages: list[np.ndarray]) -> Any:
        trainer.make = lambda _: Learnt(PROMPTS, COMPLETIONS, None, rewards, advantages)
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        inputs = trainer._generate_and_score_completions([{"prompt": ""}] * 4)
        logps = torch.full(inputs["completion_ids"].shape, -1.0, requires_grad=True)
        trainer._get_per_token_logps_and_entropies = lambda *_, **__: (logps, torch.zeros_like(logps), None)
        trainer._compute_loss(trainer.model, inputs).backward()
        del trainer._get_per_token_logps_and_entropies
        return logps.grad

    return moved


def test_credit_of_some_tokens_moves_their_log_probabilities_alone(
    logprobs_moved: Callable[[list[np.ndarray]], Any],
) -> None:
    advantages = [np.zeros(len(ids)) for ids in COMPLETIONS]
    advantages[0][1:3] = 1.0
    advantages[3][5] = -2.0
    gradient = logprobs_moved(advantages)
    assert gradient.shape == (4, 6)
    moved = {(int(row), int(at)) for row, at in gradient.nonzero()}
    assert moved == {(0, 1), (0, 2), (3, 5)}
    assert (gradient[0, 1:3] < 0).all()  # up
    assert float(gradient[3, 5]) == pytest.approx(-2 * float(gradient[0, 1]))  # down, twice as much


def test_groups_that_are_not_kept_move_nothing(logprobs_moved: Callable[[list[np.ndarray]], Any]) -> None:
    advantages = [*(np.zeros(len(ids)) for ids in COMPLETIONS[:2]), *constant()[2:]]
    gradient = logprobs_moved(advantages)
    assert (gradient[:2] == 0).all()
    assert (gradient[2:][:, 0] != 0).all()


def test_groups_that_are_not_kept_are_out_of_the_divergence_too(tmp_path: Path) -> None:
    """The KL term would hold the policy on every token of a group that a gate took out."""
    config = config_of(per_device=4, update={"beta": 0.5})
    trainer = group_trainer(config, policy(config), constant(), tmp_path)
    zeros = [np.zeros(len(ids)) for ids in COMPLETIONS]
    gradients = []
    for kept in ([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0] * 4):
        rewards = {"outcome": REWARDS, KEPT: kept}
        trainer.make = lambda _, rewards=rewards: Learnt(PROMPTS, COMPLETIONS, None, rewards, zeros)
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        inputs = trainer._generate_and_score_completions([{"prompt": ""}] * 4)
        logps = torch.full(inputs["completion_ids"].shape, -1.0, requires_grad=True)
        given = (logps, torch.zeros_like(logps), None)
        trainer._get_per_token_logps_and_entropies = lambda *_, given=given, **__: given
        trainer._compute_loss(trainer.model, inputs).backward()
        del trainer._get_per_token_logps_and_entropies
        gradients.append(logps.grad)
    everyone, two, nobody = gradients
    assert (everyone[:, 0] != 0).all()
    assert (two[:2] == 0).all() and (two[2:][:, 0] != 0).all()
    assert (nobody == 0).all()


def test_trl_samples_where_it_was_told_to(tmp_path: Path) -> None:
    """The path that vLLM takes, with TRL's own generation in its place."""
    config = config_of(sampling={"max_new_tokens": 40, "stop": ["Step 2"]})
    trainer = group_trainer(config, policy(config), constant(), tmp_path)
    tokenizer = load_tokenizer("embedded:weak")
    sample = TrlSampler(trainer, tokenizer, "embedded:weak", config.sampling)
    prompts = [Prompt(f"p{n}", f"Tom has {n} apples and buys 4 more. How many has he?") for n in (3, 5)]
    rows = sample(prompts, 2)
    assert [len(row) for row in rows] == [2, 2]
    for prompt, row in zip(prompts, rows, strict=True):
        for each in row:
            assert each.prompt == encode(tokenizer, prompt, "embedded:weak")
            assert 1 <= len(each.ids) <= 40
            assert each.ended == (each.ids[-1] == tokenizer.eos_token_id)
            said = tokenizer.decode(each.ids, skip_special_tokens=True)
            assert each.text == said.partition("Step 2")[0]
            assert each.logprobs is None  # the policy itself sampled
