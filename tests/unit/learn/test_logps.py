"""Log-probabilities and divergences against all logits at once, and losses worked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generation.learn import logps as module
from generation.learn.config import PolicyConfig
from generation.learn.dpo.logps import PairLogps, dpo_loss, pair_logps, pair_means, reward_margins
from generation.learn.dpo.rows import PairRow
from generation.learn.logps import other_policy, policy_divergence, row_logps
from generation.learn.policy import load_policy
from generation.learn.tokens import TokenRow
from shepherd.errors import ShepherdError
from verifier.adapter import adapter_weights, write_adapter
from verifier.config import LoraConfig

CONFIG = PolicyConfig(lora=LoraConfig(rank=4, alpha=8))


@pytest.fixture(scope="module")
def rows() -> list[TokenRow]:
    rng = np.random.default_rng(0)
    lengths = [(2, 1), (30, 7), (9, 8), (30, 29), (17, 2), (5, 1)]
    return [TokenRow(tuple(rng.integers(3, 600, n).tolist()), start) for n, start in lengths]


def _moved(seed: int, rank: int = 4) -> Any:
    """A policy that differs from the base."""
    config = PolicyConfig(lora=LoraConfig(rank=rank, alpha=8))
    model = load_policy("embedded:weak", config, adapter=None, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture(scope="module")
def policy() -> Any:
    return _moved(1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another policy's adapter, of another rank."""
    folder = tmp_path_factory.mktemp("other")
    write_adapter(folder, _moved(2, rank=2), "embedded:weak")
    return folder


@torch.no_grad()
def _all_logps(model: Any, row: TokenRow) -> torch.Tensor:
    """(tokens learnt, vocabulary), in float64, from all logits at once, a row at a time."""
    model.eval()
    logits = model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1]
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("batch_tokens", [1, 61, 8192])
def test_logps_are_those_of_all_logits_at_once(
    policy: Any, rows: list[TokenRow], batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HEAD_NUMBERS", 629 * 5)
    expected = [
        float(_all_logps(policy, row).gather(-1, torch.tensor(row.ids[row.start :])[:, None]).sum())
        for row in rows
    ]
    found = row_logps(policy, rows, batch_tokens)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert row_logps(policy, [], batch_tokens).shape == (0,)


def test_both_sides_in_the_order_of_the_pairs(policy: Any) -> None:
    pairs = [PairRow((1, 9, 8), (40, 41, 2), (50,)), PairRow((1, 7), (60,), (61, 62, 63, 64))]
    found = pair_logps(policy, pairs, 8)
    chosen = row_logps(policy, [pairs[0].chosen_row, pairs[1].chosen_row])
    rejected = row_logps(policy, [pairs[0].rejected_row, pairs[1].rejected_row])
    np.testing.assert_allclose(found.chosen, chosen, atol=1e-5)
    np.testing.assert_allclose(found.rejected, rejected, atol=1e-5)


def test_reading_leaves_the_model_as_it_was(policy: Any, rows: list[TokenRow], other: Path) -> None:
    policy.train()
    before, keys = adapter_weights(policy), [name for name, _ in policy.named_parameters()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    policy_divergence(policy, other, rows)
    policy_divergence(policy, None, rows)
    assert torch.equal(torch.rand(3), expected)  # nothing was drawn
    assert policy.training
    assert [name for name, _ in policy.named_parameters()] == keys
    assert list(policy.peft_config) == ["default"]
    after = adapter_weights(policy)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("against", ["base", "other"])
def test_divergence_is_that_of_all_logits_at_once(
    policy: Any, rows: list[TokenRow], other: Path, against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HEAD_NUMBERS", 629 * 5)
    reference = None if against == "base" else other
    mine = torch.cat([_all_logps(policy, row) for row in rows])
    with other_policy(policy, reference) as acting, acting():
        theirs = torch.cat([_all_logps(policy, row) for row in rows])
    bare = load_policy("embedded:weak", CONFIG, adapter=reference, seed=0)  # loaded on its own
    np.testing.assert_allclose(theirs, torch.cat([_all_logps(bare, row) for row in rows]), atol=1e-5)
    found = policy_divergence(policy, reference, rows, batch_tokens=40)
    assert found.tokens == sum(len(row.ids) - row.start for row in rows)
    assert found.kl == pytest.approx(float((mine.exp() * (mine - theirs)).sum(-1).mean()), abs=1e-5)
    assert found.kl > 0.01
    assert found.entropy == pytest.approx(float(-(mine.exp() * mine).sum(-1).mean()), abs=1e-5)


def test_a_policy_does_not_diverge_from_itself(rows: list[TokenRow], policy: Any, tmp_path: Path) -> None:
    fresh = load_policy("embedded:weak", CONFIG, adapter=None, seed=0)
    assert policy_divergence(fresh, None, rows).kl == 0
    write_adapter(tmp_path, policy, "embedded:weak")
    assert policy_divergence(policy, tmp_path, rows).kl == 0


def test_an_adapter_of_another_base_is_one_line(policy: Any, rows: list[TokenRow], tmp_path: Path) -> None:
    strong = load_policy("embedded:strong", CONFIG, adapter=None, seed=0)
    write_adapter(tmp_path, strong, "embedded:strong")
    with pytest.raises(ShepherdError, match="does not fit the model") as told:
        policy_divergence(policy, tmp_path, rows)
    assert "\n" not in str(told.value)
    assert list(policy.peft_config) == ["default"]
    assert policy_divergence(policy, None, rows).kl > 0


def test_a_head_that_scales_its_logits_is_refused(rows: list[TokenRow]) -> None:
    model = load_policy("embedded:weak", CONFIG, adapter=None, seed=0)
    causal = model.get_base_model()
    forward = causal.forward

    def scaled(*arguments: Any, **options: Any) -> Any:
        made = forward(*arguments, **options)
        made.logits = made.logits / 8
        return made

    causal.forward = scaled
    with pytest.raises(ShepherdError, match="its logits are not hidden states times head"):
        row_logps(model, rows)


SIDES = st.lists(st.tuples(*[st.floats(-300, 0)] * 4), min_size=1, max_size=8)


@given(SIDES, st.floats(0.01, 2))
def test_the_loss_is_minus_log_sigmoid_of_the_margin(
    sides: list[tuple[float, float, float, float]], beta: float
) -> None:
    mine_chosen, mine_rejected, their_chosen, their_rejected = np.array(sides).T
    policy, reference = PairLogps(mine_chosen, mine_rejected), PairLogps(their_chosen, their_rejected)
    margins = reward_margins(policy, reference, beta)
    for index, (a, b, c, d) in enumerate(sides):
        margin = beta * ((a - c) - (b - d))
        assert margins[index] == pytest.approx(margin, abs=1e-9)
        by_hand = math.log1p(math.exp(-margin)) if margin > -700 else -margin
        assert dpo_loss(policy, reference, beta)[index] == pytest.approx(by_hand, abs=1e-9)
    means = pair_means(policy, reference, beta)
    assert means.loss == pytest.approx(dpo_loss(policy, reference, beta).mean())
    assert means.chosen == pytest.approx(mine_chosen.mean())
    assert pair_means(policy, policy, beta).loss == math.log(2)
    assert pair_means(policy, policy, beta).accuracy == 0


def test_losses_worked_by_hand() -> None:
    """Margins at beta 0.5: (1 - 0) - (-1 - 0) = 2 -> 1; (0 - 0) - (4 - 0) = -4 -> -2."""
    policy = PairLogps(np.array([-9.0, -5.0]), np.array([-7.0, -6.0]))
    reference = PairLogps(np.array([-10.0, -5.0]), np.array([-6.0, -10.0]))
    assert reward_margins(policy, reference, 0.5).tolist() == [1.0, -2.0]
    expected = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(2))]
    np.testing.assert_allclose(dpo_loss(policy, reference, 0.5), expected, rtol=1e-12)
    means = pair_means(policy, reference, 0.5)
    assert (means.chosen, means.rejected, means.margin, means.accuracy) == (-7.0, -6.5, -0.5, 0.5)
