"""AdaLoRA: the budget is met, what is measured is what is saved, and a stopped run ends in the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.adalora import RankBudget, schedule
from verifier.config import AdaLoraConfig, EarlyStopping, HeadKind, LoraConfig, TrainPrmConfig
from verifier.heldout import evaluate
from verifier.loss import StepLoss
from verifier.model import add_lora, load_base
from verifier.plan import plan_training
from verifier.prepare import prepare
from verifier.training import Trainer, train

LORA = LoraConfig(kind="adalora", rank=4, alpha=8, dropout=0.1)


@pytest.fixture
def config(tiny_base: Path, tiny_rows: Path) -> TrainPrmConfig:
    """12 steps, a checkpoint every 2; the budget falls from step 2 to step 9."""
    return TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        lora=LORA,
        loss="pair",
        learning_rate=0.02,
        batch_tokens=700,
        max_steps=12,
        checkpoint_every=2,
        eval_fraction=0.2,
        threads=1,
        tensorboard=False,
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("quantization", "optimizer", "head"),
    [("nf4", "adamw_torch", "lm"), ("nf4", "muon", "classifier"), ("none", "muon", "lm")],
)
def test_the_budget_is_met_and_the_folder_reloads_exactly(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, quantization: Any, optimizer: Any, head: Any
) -> None:
    config = config.model_copy(update={"quantization": quantization, "optimizer": optimizer, "head": head})
    run = tiny.FakeRun(tmp_path)
    result = train(config, run)
    assert result.ranks is not None
    assert len(result.ranks) == 14  # seven layers in each of two blocks
    assert sum(result.ranks.values()) == 4 * 14
    assert len(set(result.ranks.values())) > 1  # they are not all alike, else LoRA would do
    assert any(line.startswith("AdaLoRA ranks: 56 in 14 layers; q_proj ") for line in run.logged)
    prepared = prepare(config)
    loaded = load_verifier(str(tmp_path))
    found = evaluate(
        loaded.reader,
        prepared.heldout,
        loss=StepLoss("pair"),
        batch_tokens=config.batch_tokens,
        pad_id=prepared.pad_id,
    )
    assert found.loss == result.metrics["loss"]
    saved = json.loads((tmp_path / "verifier" / "adapter" / "ranks.json").read_text())
    assert saved["total"] == 56
    assert saved["ranks"] == result.ranks
    pattern = json.loads((tmp_path / "verifier" / "adapter" / "adapter_config.json").read_text())[
        "rank_pattern"
    ]
    assert {name.removesuffix(".lora_E"): sum(kept) for name, kept in pattern.items()} == result.ranks
    card = (tmp_path / "verifier" / "README.md").read_text()
    assert "56 singular values kept in 14 layers" in card
    assert "AdaLoRA mean rank 4" in card


@pytest.mark.parametrize("stop", [7, 8, 11])  # while the budget falls; before and after its last cut
def test_stopped_anywhere_it_resumes_to_the_same_bytes(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(config, tiny.FakeRun(tmp_path / "whole"))
    run_step = Trainer._step

    def die(self: Trainer, number: int) -> dict[str, Any]:
        if number == stop:
            raise KeyboardInterrupt
        return run_step(self, number)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        train(config, tiny.FakeRun(tmp_path / "stopped"))
    monkeypatch.setattr(Trainer, "_step", run_step)
    again = train(config, tiny.FakeRun(tmp_path / "stopped"))
    assert _bytes(again.folder) == _bytes(whole.folder)
    assert again.ranks == whole.ranks


def test_an_adapter_kept_from_before_the_cuts_is_saved_as_it_was(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    stopping = EarlyStopping(patience=1, metric="loss")
    config = config.model_copy(
        update={
            "learning_rate": 1.0,
            "eval_every": 1,
            "early_stopping": stopping,
            "max_steps": 40,
            "epochs": 9,
        }
    )
    result = train(config, tiny.FakeRun(tmp_path))
    assert result.best_step < result.steps < 6  # the first cut would be after step 4
    assert result.ranks is not None
    assert set(result.ranks.values()) == {6}
    assert load_verifier(str(tmp_path)).score("How many?", ["1 + 1 = 2."])[0][0] > 0


def test_the_penalty_is_the_distance_from_orthonormal(tiny_base: Path) -> None:
    base = load_base(str(tiny_base), quantization="none", dtype="float32", device=torch.device("cpu"))
    lora = LORA.model_copy(update={"targets": ("q_proj",), "adalora": AdaLoraConfig(orth_reg_weight=0.5)})
    model = add_lora(base, lora, 0, steps=100)
    budget = RankBudget(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                p.copy_(torch.eye(*p.shape))
        assert float(budget.penalty()) == 0.0
        doubled = next(p for name, p in model.named_parameters() if "lora_A" in name)
        doubled.mul_(2)  # of the four matrices one has six vectors of length 2: 4 - 1, six times
        assert float(budget.penalty()) == pytest.approx(0.5 * (6 * 3**2) ** 0.5 / 4)


@pytest.mark.parametrize(
    ("given", "steps", "said"),
    [
        ({"tinit": 60, "tfinal": 40}, 100, "tinit 60 and tfinal 40 leave no step of 100"),
        ({}, 1, "leave no step of 1 to hand out ranks in"),
        ({"init_r": 8}, 100, "init_r 8 is not above the target rank 8"),
        ({"target_r": 12, "init_r": 10}, 100, "init_r 10 is not above the target rank 12"),
    ],
)
def test_a_schedule_that_does_not_fit_is_told_in_one_line(
    given: dict[str, int], steps: int, said: str
) -> None:
    lora = LoraConfig(kind="adalora", rank=8, adalora=AdaLoraConfig(**given))
    with pytest.raises(ShepherdError, match=said) as caught:
        schedule(lora, steps)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("lora.adalora: ")


def test_the_schedule_is_checked_before_a_model_is_loaded(config: TrainPrmConfig) -> None:
    lora = LORA.model_copy(update={"adalora": AdaLoraConfig(tinit=10, tfinal=10)})
    with pytest.raises(ShepherdError, match="leave no step of 12"):
        prepare(config.model_copy(update={"lora": lora}))


@pytest.mark.parametrize("head", ["lm", "classifier", "outcome"])
def test_a_dry_run_counts_what_is_trained(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, head: HeadKind
) -> None:
    """The ranks at the start, a singular value each, and the head's own rows."""
    config = config.model_copy(update={"head": head, "lora": LORA, "loss": "pair"})
    trainer = Trainer(prepare(config), tiny.FakeRun(tmp_path))
    assert plan_training(config).facts["trainable_parameters"] == sum(
        each.numel() for each in trainer.named.values()
    )
