"""What benchmarks/training.py compares with trains on the same labels, to the same loss."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from trainers import beside, ours, rows, sft
from trainers.base import TOY, random_model, save_base
from trainers.floor import Floor, floor_of

from shepherd.files import read_json
from shepherd.records import StepRow
from verifier import model as models
from verifier.batches import EncodedRow
from verifier.packing.passes import Padded, Work


def test_a_tags_own_output_predicts_its_label() -> None:
    """transformers takes the output at i for the label at i + 1."""
    step_row = StepRow("q", ("a", "b"), (1.0, 0.0))
    row = EncodedRow(
        np.array([1, 5, 9, 6, 9], dtype=np.int32),
        np.array([2, 4], dtype=np.int32),
        np.array([1.0, 0.0], dtype=np.float32),
        step_row,
    )
    found = sft.labelled(row, SimpleNamespace(good_id=7, bad_id=8))
    assert found["input_ids"][:5] == [1, 5, 9, 6, 9]
    assert len(found["input_ids"]) == len(found["labels"]) == 6
    assert found["labels"] == [-100, -100, -100, 7, -100, 8]


@pytest.mark.slow
def test_sft_has_our_loss_and_our_course(tmp_path: Path) -> None:
    """The same weights, adapter and rows: three steps are the same, however they are cut into batches."""
    base = save_base(TOY, "embedded", tmp_path / "base", 0)
    given = rows.find_rows("packaged")
    plan = rows.plan("packaged", given, base, tmp_path, "lm", 3, 0)
    assert [len(each) for each in plan.plan] == [16, 16, 16]
    counts = rows.count(plan)
    assert counts.unique < counts.own <= counts.padded
    mine = ours.train(plan, tmp_path, packs=False)
    theirs = sft.train(plan, tmp_path / "sft", 4, 1, labels_alone=True)
    assert len(mine.losses) == 3
    assert mine.losses == pytest.approx(theirs.losses, abs=1e-4)
    assert mine.losses[2] != pytest.approx(mine.losses[0], abs=1e-4)  # something was learnt
    assert len(mine.seconds) == len(theirs.seconds) == 2
    assert min(mine.peak_bytes, theirs.peak_bytes) > 2**20


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two steps of each of the trainer's own orders."""
    folder = tmp_path_factory.mktemp("orders")
    base = save_base(TOY, "embedded", folder / "base", 0)
    given = rows.find_rows("packaged")
    return {
        group_by: rows.planned("packaged", given, base, folder, group_by, 2, 0, 8) for group_by in rows.GROUPS
    }


def test_planned_steps_are_the_trainers_own(orders: dict[str, Any]) -> None:
    """As many rows in each; what questions kept together have in common is less to read."""
    for prepared in orders.values():
        assert [len(part) for part in prepared.plan] == [8, 8]
        assert prepared.config.batch_tokens == 8192
    counts = {name: rows.count(prepared) for name, prepared in orders.items()}
    assert counts["question"].padded_over_unique > 1.5 * counts["none"].padded_over_unique
    assert rows.questions_a_step(orders["question"]) < rows.questions_a_step(orders["none"])


def test_the_floor_is_below_what_any_trainer_reads(orders: dict[str, Any]) -> None:
    """Two solutions of a question by hand, then passes of real steps."""
    counts = rows.Counts(rows=2, tags=3, own=9, padded=10, unique=7, pairs=16)
    assert counts.floor(Work(token=100.0, pair=1.0), head=5.0) == 7 * 200 + 16 * 3 + 3 * 5
    floor = Floor(Work(100.0, 0.1), 0.0, rate=50.0)
    for prepared in orders.values():
        least = 50.0 * floor.seconds(prepared)
        packed, padded = (floor.operations(floor.passes(prepared, packs=packs)) for packs in (True, False))
        theirs = floor.operations(rows.batches_of(prepared, 4))
        assert least <= packed <= padded
        assert least <= theirs
    padded_passes = floor.passes(orders["none"], packs=False)
    assert all(isinstance(each, Padded) for each in padded_passes)
    assert sum(each.tokens for each in padded_passes) == rows.count(orders["none"]).padded


def test_the_adapter_is_not_in_the_floor(orders: dict[str, Any], tmp_path: Path) -> None:
    trainer = ours.make_trainer(orders["none"], tmp_path)
    shape = TOY
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    weights = shape["num_hidden_layers"] * (4 * hidden * hidden + 3 * hidden * inner)
    found = floor_of(trainer)
    assert found.work.token == 2 * weights < trainer.reader.work.token
    assert found.head == 4 * shape["vocab_size"] * hidden
    assert found.rate > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_random_4_bit_model_has_the_layers_of_a_loaded_one(tmp_path: Path, dtype: str) -> None:
    cpu = torch.device("cpu")
    folder = save_base(TOY, "embedded", tmp_path / "base", 0)
    loaded = models.load_base(str(folder), quantization="nf4", dtype=dtype, device=cpu)
    made = random_model(TOY, dtype, cpu, "nf4")

    def described(model: Any) -> list[Any]:
        return [
            (
                name,
                type(each).__name__,
                each.dtype,
                each.shape,
                each.device,
                str(getattr(each, "quant_type", "")),
            )
            for name, each in model.named_parameters()
        ]

    assert described(made) == described(loaded)
    ids = torch.arange(1, 60)[None]
    spread = made(input_ids=ids).logits.float().std()
    assert float(spread) == pytest.approx(float(loaded(input_ids=ids).logits.float().std()), rel=0.2)
    for mine, theirs in zip(made.modules(), loaded.modules(), strict=True):
        assert type(mine) is type(theirs)
        if hasattr(mine, "quant_state"):
            assert mine.weight.quant_state.nested == theirs.weight.quant_state.nested is True
            assert mine.support_avx512bf16_for_cpu is False


def test_ours_trains_a_random_4_bit_model_alike_packed_and_alone(
    orders: dict[str, Any], tmp_path: Path
) -> None:
    """What `training.py --device cuda` runs on a card."""
    prepared = orders["question"]
    update = {"quantization": "nf4"}
    prepared = replace(prepared, config=prepared.config.model_copy(update=update))

    def load_base(*_: Any, **__: Any) -> Any:
        return random_model(TOY, "float32", torch.device("cpu"), "nf4")

    with patch.object(models, "load_base", load_base):
        packed, alone = (ours.train(prepared, tmp_path, packs=packs) for packs in (True, False))
    assert packed.losses == pytest.approx(alone.losses, abs=1e-4)
    assert packed.losses[0] != pytest.approx(packed.losses[1], abs=1e-4)
    assert packed.peak_bytes < alone.peak_bytes


def test_a_loss_that_is_another_ends_the_measurement(orders: dict[str, Any]) -> None:
    from trainers.watch import Watched  # type: ignore[import-not-found]

    floor = Floor(Work(100.0, 0.1), 0.0, rate=1e9)
    ours, slow, other = (
        Watched([2.0, 1.0], [0.5], 100),
        Watched([2.0, 1.0], [1.0], 250),
        Watched([2.0, 1.1], [0.5], 100),
    )
    trainings = {"packed": lambda: ours, "slow": lambda: slow}
    first, second = beside.run_all(trainings, orders["none"], floor)
    assert (first["times_slower"], first["times_larger"], first["rows_a_second"]) == (1.0, 1.0, 16.0)
    assert (second["times_slower"], second["times_larger"], second["losses_apart"]) == (2.0, 2.5, 0.0)
    assert second["of_floor"] == pytest.approx(2 * first["of_floor"])
    with pytest.raises(SystemExit, match=r"other: losses differ from ours by 1\.0e-01"):
        beside.run_all({**trainings, "other": lambda: other}, orders["none"], floor)


def test_without_a_card_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import training  # type: ignore[import-not-found]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no CUDA device on this machine; nothing was measured"):
        training.measure_on_card(Namespace(device="cuda"))


def test_an_entry_is_kept_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from record import machine  # type: ignore[import-not-found]

    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    machine.keep_entry("some-cuda", "small", {"gpu": "one"}, {"figure": 1})
    machine.keep_entry("some-cuda", "large", {"gpu": "one"}, {"figure": 2})
    machine.keep_entry("some-cuda", "small", {"gpu": "two"}, {"figure": 3})
    assert read_json(tmp_path / "some-cuda.json")["entries"] == {
        "small": {"machine": {"gpu": "two"}, "figure": 3},
        "large": {"machine": {"gpu": "one"}, "figure": 2},
    }
