"""The base and its adapter: the 4-bit traps of this library version, seeds, and the two-row read-out."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from shepherd.errors import ShepherdError
from verifier.config import LoraConfig, TrainPrmConfig
from verifier.heads import LabelRows
from verifier.loss import step_losses, tag_log_probabilities
from verifier.model import (
    add_lora,
    base_fingerprint,
    check_head,
    keep_autograd_on_cpu,
    load_base,
    load_tokenizer,
    pick_device,
    read_labels,
    trainable_parameters,
)
from verifier.optim import learning_rate_at, make_optimizer
from verifier.tags import TagContract, resolve

CPU = torch.device("cpu")
LORA = LoraConfig(rank=8, alpha=16)


@pytest.fixture(scope="module")
def contract(tiny_tokenizer: Any) -> TagContract:
    return resolve(tiny_tokenizer)


def _load(base: Path, quantization: str = "nf4", seed: int = 0, dtype: str = "float32") -> Any:
    model = load_base(str(base), quantization=quantization, dtype=dtype, device=CPU)
    return add_lora(model, LORA, seed)


def _ids(rows: int = 3, length: int = 20) -> torch.Tensor:
    return torch.randint(3, 300, (rows, length), generator=torch.Generator().manual_seed(1))


def _hash(model: Any) -> str:
    digest = hashlib.sha256()
    for parameter in trainable_parameters(model):
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def _gradients(model: Any, contract: TagContract) -> torch.Tensor:
    """LoRA gradients of a fixed loss, as one vector."""
    reader = read_labels(model, contract)
    model.train()
    model.zero_grad()
    hidden = reader.hidden(_ids(), torch.tensor([5, 19, 30, 59]))
    logs = tag_log_probabilities(reader, hidden, "pair")
    step_losses(logs, torch.tensor([1.0, 0.0, 0.3, 1.0]), (1.0, 1.0)).sum().backward()
    return torch.cat([p.grad.flatten() for p in trainable_parameters(model) if p.grad is not None])


def test_gradients_after_an_eval_pass_are_those_of_a_model_never_evaluated(
    tiny_base: Path, contract: TagContract
) -> None:
    """bitsandbytes 0.50 repacks weights in eval mode on AVX512-BF16 CPUs and then bypasses autograd."""
    from bitsandbytes.nn.modules import Linear4bit

    fresh, evaluated = _load(tiny_base), _load(tiny_base)
    for model in (fresh, evaluated):
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero at first, which would hide half of the gradients
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(2))
    quantized = [module for module in evaluated.modules() if isinstance(module, Linear4bit)]
    assert len(quantized) == 14
    assert not any(module.support_avx512bf16_for_cpu for module in quantized)
    evaluated.eval()
    with torch.no_grad():
        evaluated(input_ids=_ids())
    before, after = _gradients(fresh, contract), _gradients(evaluated, contract)
    assert before.norm() > 0
    assert torch.nn.functional.cosine_similarity(before, after, dim=0) > 0.999


def test_the_switch_is_what_keeps_autograd(tiny_base: Path) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    model = load_base(str(tiny_base), quantization="nf4", dtype="float32", device=CPU)
    module = next(each for each in model.modules() if isinstance(each, Linear4bit))
    module.support_avx512bf16_for_cpu = True
    keep_autograd_on_cpu(model)
    assert module.support_avx512bf16_for_cpu is False


def test_nf4_is_double_quantized_and_leaves_the_head_alone(tiny_base: Path, contract: TagContract) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    model = load_base(str(tiny_base), quantization="nf4", dtype="bfloat16", device=CPU)
    quantized = [each for each in model.modules() if isinstance(each, Linear4bit)]
    assert {each.weight.quant_type for each in quantized} == {"nf4"}
    assert all(each.weight.quant_state.nested for each in quantized)
    assert {each.compute_dtype for each in quantized} == {torch.bfloat16}
    reader = read_labels(model, contract)
    assert isinstance(reader.head, LabelRows)
    assert type(reader.head.linear) is torch.nn.Linear
    assert reader.head.linear.weight.dtype == torch.bfloat16
    assert reader.hidden(_ids(), torch.arange(4)).dtype == torch.bfloat16
    # A 4-bit layer takes the dtype of what it is given: an fp32 embedding would turn all computing to fp32.
    assert {each.compute_dtype for each in quantized} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_double_quantization_can_be_left_out(tiny_base: Path) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    model = load_base(str(tiny_base), quantization="nf4-single", dtype="float32", device=CPU)
    states = [each.weight.quant_state for each in model.modules() if isinstance(each, Linear4bit)]
    assert states
    assert not any(state.nested for state in states)


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_same_seed_gives_the_same_adapter(tiny_base: Path, quantization: str) -> None:
    torch.rand(7)  # whatever was drawn before must not matter
    first = _hash(_load(tiny_base, quantization, seed=3))
    torch.rand(11)
    assert _hash(_load(tiny_base, quantization, seed=3)) == first
    assert _hash(_load(tiny_base, quantization, seed=4)) != first


def test_pair_logits_are_the_models_own(tiny_base: Path, contract: TagContract) -> None:
    model = _load(tiny_base, "none")
    reader = read_labels(model, contract)
    ids, at = _ids(), torch.tensor([3, 19, 25, 59])
    with torch.no_grad():
        whole = model(input_ids=ids).logits.reshape(-1, 317)[at]
        hidden = reader.hidden(ids, at)
        torch.testing.assert_close(
            reader.pair_logits(hidden), whole[:, [contract.good_id, contract.bad_id]], atol=1e-5, rtol=1e-5
        )
        assert isinstance(reader.head, LabelRows)
        torch.testing.assert_close(reader.head.vocab_logits(hidden), whole, atol=1e-5, rtol=1e-5)
    check_head(reader, ids, at)


def test_an_architecture_that_changes_logits_after_the_head_is_refused(
    tiny_base: Path, contract: TagContract
) -> None:
    model = load_base(str(tiny_base), quantization="none", dtype="float32", device=CPU)
    reader = read_labels(model, contract)
    forward = model.forward

    def capped(**inputs: Any) -> Any:
        found = forward(**inputs)
        found.logits = 0.1 * found.logits.tanh()
        return found

    model.forward = capped
    with pytest.raises(ShepherdError, match="this architecture is not supported"):
        check_head(reader, _ids(), torch.tensor([3]))


def test_an_adapter_on_the_head_is_refused(tiny_base: Path, contract: TagContract) -> None:
    base = load_base(str(tiny_base), quantization="none", dtype="float32", device=CPU)
    model = add_lora(base, LoraConfig(rank=4, alpha=4, targets=("q_proj", "lm_head")), 0)
    with pytest.raises(ShepherdError, match=r"keep it out of lora\.targets"):
        read_labels(model, contract)


def test_unknown_targets_and_models_are_told_in_one_line(tiny_base: Path, tmp_path: Path) -> None:
    base = load_base(str(tiny_base), quantization="none", dtype="float32", device=CPU)
    with pytest.raises(ShepherdError, match=r"^lora\.targets: "):
        add_lora(base, LoraConfig(targets=("no_such_layer",)), 0)
    with pytest.raises(ShepherdError, match="no model can be loaded"):
        load_base(str(tmp_path / "nothing"), quantization="none", dtype="float32", device=CPU)
    with pytest.raises(ShepherdError, match="no tokenizer can be loaded"):
        load_tokenizer(str(tmp_path / "nothing"))


def test_the_fingerprint_tells_bases_apart_but_not_their_quantization(
    tiny: Any, tiny_base: Path, contract: TagContract, tmp_path: Path
) -> None:
    other = tiny.build_base(tmp_path / "other", seed=1)
    found = {
        (name, quantization): base_fingerprint(_load(path, quantization), contract)
        for name, path in (("base", tiny_base), ("other", other))
        for quantization in ("nf4", "none")
    }
    assert found["base", "nf4"] == found["base", "none"]
    assert found["other", "nf4"] == found["other", "none"]
    assert found["base", "none"] != found["other", "none"]


def test_gradient_checkpointing_gives_the_same_gradients(tiny_base: Path, contract: TagContract) -> None:
    from verifier.model import enable_gradient_checkpointing

    plain, saving = _load(tiny_base), _load(tiny_base)
    enable_gradient_checkpointing(saving)
    torch.testing.assert_close(_gradients(plain, contract), _gradients(saving, contract))


@pytest.mark.parametrize(
    "kind", ["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "muon"]
)
def test_each_optimizer_steps_and_its_state_can_be_put_back(kind: Any) -> None:
    """With tensors of 4,096 elements and more, which bitsandbytes really keeps in 8 bits."""
    config = TrainPrmConfig(optimizer=kind, learning_rate=0.01)
    gradients = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(0))

    def run(stop: int | None) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.ones(64, 64))
        optimizer = make_optimizer(config, [parameter])
        for step, gradient in enumerate(gradients):
            if step == stop:
                state, parameter = optimizer.state_dict(), torch.nn.Parameter(parameter.detach().clone())
                optimizer = make_optimizer(config, [parameter])
                optimizer.load_state_dict(state)
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter.detach()

    whole = run(None)
    assert not torch.equal(whole, torch.ones(64, 64))
    assert torch.equal(whole, run(3))


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "constant"])
def test_the_learning_rate_warms_up_and_falls(scheduler: Any) -> None:
    config = TrainPrmConfig(learning_rate=2.0, warmup_ratio=0.1, scheduler=scheduler)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[10] == 2.0
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] == (2.0 if scheduler == "constant" else pytest.approx(0.0, abs=0.03))


def test_cuda_where_there_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(ShepherdError, match="device: cuda"):
        pick_device("cuda")
