"""What benchmarks/training.py compares with trains on the same labels, to the same loss."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shepherd.records import StepRow
from verifier.batches import EncodedRow


@pytest.fixture(scope="module")
def parts() -> Iterator[SimpleNamespace]:
    """The parts of the benchmark, which are no package."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        from trainers import base, ours, rows, sft  # type: ignore[import-not-found]

        yield SimpleNamespace(base=base, ours=ours, rows=rows, sft=sft)
    finally:
        sys.path.remove(folder)


def test_a_tags_own_output_predicts_its_label(parts: SimpleNamespace) -> None:
    """transformers takes the output at i for the label at i + 1."""
    step_row = StepRow("q", ("a", "b"), (1.0, 0.0))
    row = EncodedRow(
        np.array([1, 5, 9, 6, 9], dtype=np.int32),
        np.array([2, 4], dtype=np.int32),
        np.array([1.0, 0.0], dtype=np.float32),
        step_row,
    )
    found = parts.sft.labelled(row, SimpleNamespace(good_id=7, bad_id=8))
    assert found["input_ids"][:5] == [1, 5, 9, 6, 9]
    assert len(found["input_ids"]) == len(found["labels"]) == 6
    assert found["labels"] == [-100, -100, -100, 7, -100, 8]


@pytest.mark.slow
def test_sft_has_our_loss_and_our_course(parts: SimpleNamespace, tmp_path: Path) -> None:
    """The same weights, adapter and rows: three steps are the same, however they are cut into batches."""
    base = parts.base.save_base(parts.base.TOY, "embedded", tmp_path / "base", 0)
    given = parts.rows.find_rows("packaged")
    plan = parts.rows.plan("packaged", given, base, tmp_path, "lm", 3, 0)
    assert [len(each) for each in plan.plan] == [16, 16, 16]
    counts = parts.rows.count(plan)
    assert counts.unique < counts.own <= counts.padded
    mine = parts.ours.train(plan, tmp_path, packs=False)
    theirs = parts.sft.train(plan, tmp_path / "sft", 4, 1, labels_alone=True)
    assert len(mine.losses) == 3
    assert mine.losses == pytest.approx(theirs.losses, abs=1e-4)
    assert mine.losses[2] != pytest.approx(mine.losses[0], abs=1e-4)  # something was learnt
    assert len(mine.seconds) == len(theirs.seconds) == 2
    assert min(mine.peak_bytes, theirs.peak_bytes) > 2**20
