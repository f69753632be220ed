"""Training: it learns, its control does not, and killed anywhere it ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.calibration import read_calibration
from eval.diagnostics import text_length
from eval.reliability import binary_nll
from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier import checkpoint, heldout, load_verifier
from verifier.config import EarlyStopping, LoraConfig, TrainPrmConfig
from verifier.description import read_description
from verifier.packing.allocations import Allocations
from verifier.prepare import prepare
from verifier.training import Trainer, train


@pytest.fixture
def config(tiny_base: Path, tiny_rows: Path) -> TrainPrmConfig:
    """12 steps, a checkpoint every 4."""
    return TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        lora=LoraConfig(rank=8, alpha=16, dropout=0.1),
        learning_rate=0.02,
        batch_tokens=700,
        max_steps=12,
        checkpoint_every=4,
        eval_fraction=0.2,
        threads=1,
        tensorboard=False,
    )


def _bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a verifier folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_learns_what_is_in_the_rows_and_the_control_does_not(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    rng = random.Random(0)
    rows = []
    for number in range(400):  # a step is right if its digit is small
        digits = [rng.randint(0, 9) for _ in range(2)]
        steps = tuple(f"Step {i}: so {digit}." for i, digit in enumerate(digits, start=1))
        labels = tuple(float(digit < 5) for digit in digits)
        rows.append(StepRow(f"How many in {number // 4}?", steps, labels))
    longer = config.model_copy(
        update={
            "data": str(tiny.write_rows(tmp_path / "rows.jsonl", rows)),
            "loss": "pair",
            "eval_fraction": 0.3,  # of few held-out steps a control can be right by chance
            "max_steps": 60,
            "epochs": 40,
            "batch_tokens": 1500,
            "checkpoint_every": None,
        }
    )
    run = tiny.FakeRun(tmp_path / "real")
    result = train(longer, run)
    assert run.metrics[0]["loss"] > 0.6
    assert result.metrics["loss"] < 0.4
    assert result.metrics["auc"]["value"] > 0.9
    assert result.metrics["auc_within_question"]["value"] > 0.9
    assert result.steps == 60
    control = train(
        longer.model_copy(update={"control": "shuffled_labels"}), tiny.FakeRun(tmp_path / "control")
    )
    assert control.metrics["auc_within_position"]["value"] < 0.65
    assert "A control" in (control.folder / "README.md").read_text()
    assert "A control" not in (result.folder / "README.md").read_text()


def test_the_same_seed_gives_the_same_bytes(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    short = config.model_copy(update={"max_steps": 3})
    one = train(short, tiny.FakeRun(tmp_path / "1"))
    two = train(short, tiny.FakeRun(tmp_path / "2"))
    other = train(short.model_copy(update={"seed": 1}), tiny.FakeRun(tmp_path / "3"))
    assert _bytes(one.folder) == _bytes(two.folder)
    assert one.verifier_id == two.verifier_id != other.verifier_id


def _in_child(work: Callable[[], None]) -> int:
    """Run in a forked process, which may kill itself; its wait status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking beside threads
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _train_counting(tiny: Any, config: TrainPrmConfig, path: Path, die_before: int | None = None) -> None:
    """Train, note each step in a file, and be killed before step `die_before` if it is given."""
    run_step = Trainer._step

    def step(self: Trainer, number: int) -> dict[str, Any]:
        if number == die_before:
            os.kill(os.getpid(), signal.SIGKILL)
        with (path.parent / "steps.txt").open("a") as handle:
            handle.write(f"{number}\n")
        return run_step(self, number)

    Trainer._step = step  # type: ignore[method-assign]
    try:
        train(config, tiny.FakeRun(path))
    finally:
        Trainer._step = run_step  # type: ignore[method-assign]


def _die_writing() -> None:
    """Have the next checkpoint killed in the middle of its largest file."""
    write = checkpoint.atomic_write

    @contextmanager
    def half(path: Path, mode: str = "w") -> Iterator[Any]:
        with write(path, mode) as handle:
            if path.name == "state.pt":
                handle.write(b"x" * 100_000)
                handle.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            yield handle

    checkpoint.atomic_write = half  # type: ignore[assignment]


@pytest.mark.parametrize(
    "optimizer", ["adamw_torch", "muon", pytest.param("paged_adamw_8bit", marks=pytest.mark.slow)]
)
def test_killed_in_training_and_in_a_checkpoint_it_resumes_to_the_same_bytes(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, optimizer: Any
) -> None:
    config = config.model_copy(
        update={"optimizer": optimizer, "lora": LoraConfig(rank=128, alpha=64, dropout=0.1)}
    )
    whole = train(config, tiny.FakeRun(tmp_path / "whole"))
    path = tmp_path / "killed" / "run"
    path.mkdir(parents=True)
    killed = -signal.SIGKILL

    def die_in_step_7() -> None:
        _train_counting(tiny, config, path, die_before=6)

    def die_in_checkpoint() -> None:
        _die_writing()
        _train_counting(tiny, config, path)

    assert os.waitstatus_to_exitcode(_in_child(die_in_step_7)) == killed
    assert [each.name for each in (path / "checkpoints").iterdir()] == ["step-00000004"]
    assert os.waitstatus_to_exitcode(_in_child(die_in_checkpoint)) == killed
    left = sorted(each.name for each in (path / "checkpoints").iterdir())
    assert left[0] == "step-00000004"
    assert len(left) == 2  # and what the kill left half-written, under another name
    assert os.waitstatus_to_exitcode(_in_child(lambda: _train_counting(tiny, config, path))) == 0

    assert _bytes(path / "verifier") == _bytes(whole.folder)
    steps = [int(line) for line in (path.parent / "steps.txt").read_text().split()]
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10, 11]
    # No kill costs more than the steps since the last complete checkpoint.
    assert len(steps) - 12 == 2 + 4


@pytest.mark.parametrize(("targets", "reached"), [("all-linear", 7), (("q_proj",), 1)])
def test_it_says_how_much_of_the_base_the_adapter_reaches(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, targets: Any, reached: int
) -> None:
    run = tiny.FakeRun(tmp_path)
    train(config.model_copy(update={"max_steps": 1, "lora": LoraConfig(rank=2, targets=targets)}), run)
    (line,) = (each for each in run.logged if each.startswith("adapter on"))
    on, of = (int(part) for part in line.split()[2:5:2])
    assert on * 7 == of * reached  # a block has seven linear layers


def test_a_checkpoint_without_its_mark_is_ignored(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    whole = train(config, tiny.FakeRun(tmp_path / "run"))
    expected = _bytes(whole.folder)
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "step-00000012" / "COMPLETE").unlink()
    run = tiny.FakeRun(tmp_path / "run")
    train(config, run)
    assert "resumed at step 8 of 12" in run.logged
    assert _bytes(whole.folder) == expected
    assert sorted(each.name for each in checkpoints.iterdir()) == ["step-00000008", "step-00000012"]


def test_a_checkpoint_of_other_rows_is_refused(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    train(config, tiny.FakeRun(tmp_path))
    with pytest.raises(ShepherdError, match="the data has changed since"):
        train(config.model_copy(update={"limit": 200}), tiny.FakeRun(tmp_path))


def test_early_stopping_keeps_the_best_adapter_and_survives_a_resume(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    config = config.model_copy(
        update={
            "max_steps": 40,
            "epochs": 20,
            "eval_every": 2,
            "checkpoint_every": 4,
            "learning_rate": 1.0,  # far too high: it gets worse at once
            "early_stopping": EarlyStopping(patience=3, metric="loss"),
        }
    )
    run = tiny.FakeRun(tmp_path / "whole")
    whole = train(config, run)
    losses = {row["step"]: row["heldout"]["loss"] for row in run.metrics if "heldout" in row}
    best = min(losses, key=lambda step: losses[step])
    assert whole.steps == best + 6 < 40
    assert whole.best_step == best
    assert whole.metrics["loss"] == pytest.approx(losses[best])
    path = tmp_path / "killed" / "run"
    path.mkdir(parents=True)
    # Killed after the best step was seen, with a part of the patience used up.
    _in_child(lambda: _train_counting(tiny, config, path, die_before=best + 3))
    assert any((path / "checkpoints").iterdir())
    again = train(config, tiny.FakeRun(path))
    assert (again.steps, again.best_step) == (whole.steps, whole.best_step)
    assert _bytes(again.folder) == _bytes(whole.folder)


def test_early_stopping_on_a_metric_without_a_value_is_told(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    rows = [row for row in tiny.make_rows(60) if row.labels == (1.0, 1.0)]
    data = str(tiny.write_rows(tmp_path / "rows.jsonl", rows))
    config = config.model_copy(
        update={"data": data, "eval_every": 1, "early_stopping": EarlyStopping(metric="auc_within_question")}
    )
    with pytest.raises(ShepherdError, match="auc_within_question has no value"):
        train(config, tiny.FakeRun(tmp_path / "run"))


def test_accumulation_is_one_large_batch(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    """The mean is over all tags of the step, so how they are spread over passes does not matter."""
    base = config.model_copy(update={"max_steps": 1, "lora": LoraConfig(rank=4, alpha=4)})
    together = Trainer(prepare(base.model_copy(update={"batch_tokens": 4000})), tiny.FakeRun(tmp_path / "1"))
    apart = Trainer(prepare(base.model_copy(update={"accumulation": 2})), tiny.FakeRun(tmp_path / "2"))
    first, second = apart.prepared.plan[:2]
    together.prepared.plan[0] = torch.cat([torch.from_numpy(first), torch.from_numpy(second)]).numpy()
    one, two = together._step(0), apart._step(0)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    for name, parameter in together.named.items():
        torch.testing.assert_close(parameter, apart.named[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("group_by", ["none", "question"])
def test_smaller_passes_take_the_same_step_in_less_memory(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, group_by: str
) -> None:
    update = {"lora": LoraConfig(rank=4, alpha=4), "group_by": group_by, "quantization": "none"}
    trainers, losses, peaks = [], [], []
    for pass_tokens in (None, 150):
        changed = config.model_copy(update={**update, "pass_tokens": pass_tokens})
        trainer = Trainer(prepare(changed), tiny.FakeRun(tmp_path / str(pass_tokens)))
        trainer.model.train()
        with Allocations() as counted:
            losses.append(trainer._step(0)["loss"])
        trainers.append(trainer)
        peaks.append(counted.peak)
    whole, parts = trainers
    assert whole.plan == parts.plan
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, parameter in whole.named.items():
        torch.testing.assert_close(parameter, parts.named[name], atol=1e-6, rtol=1e-3)
    assert peaks[1] < 0.6 * peaks[0]


@pytest.mark.parametrize(
    ("device", "pass_tokens", "tokens"),
    [("cpu", None, 2048), ("cuda", None, 8192), ("cpu", 4096, 4096), ("cuda", 512, 512), ("cpu", 9999, 8192)],
)
def test_a_pass_is_a_batch_on_a_card_and_smaller_on_a_cpu(
    config: TrainPrmConfig, device: str, pass_tokens: int | None, tokens: int
) -> None:
    changed = config.model_copy(update={"batch_tokens": 8192, "pass_tokens": pass_tokens})
    assert changed.tokens_a_pass(device) == tokens


def test_held_out_rows_are_read_in_passes_of_the_same_size(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has room for a step has room for the evaluation after it."""
    trainer = Trainer(prepare(config.model_copy(update={"pass_tokens": 64})), tiny.FakeRun(tmp_path))
    real, passes = heldout.read_pass, []

    def seen(reader: Any, each: Any, *others: Any) -> Any:
        passes.append(each)
        return real(reader, each, *others)

    monkeypatch.setattr(heldout, "read_pass", seen)
    trainer._evaluate()
    assert len(passes) > 1
    assert all(each.tokens <= 64 or len(each.members) == 1 for each in passes)


@pytest.mark.parametrize("kind", ["lora", "adalora"])
def test_packed_and_unpacked_runs_take_the_same_steps(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """One plan, read as trees or in padded batches: the loss curve, the adapter and the held-out scores."""
    monkeypatch.setattr("verifier.training._LOG_EVERY_S", 0.0)
    config = config.model_copy(
        update={
            "lora": LoraConfig(kind=kind, rank=4, alpha=8),
            "group_by": "question",
            "accumulation": 2,
            "max_steps": 10,
            "epochs": 6,
            "quantization": "none",
            "learning_rate": 0.005,
        }
    )
    runs = {}
    for packs in (True, False):
        with monkeypatch.context() as patched:
            if not packs:
                patched.setattr("verifier.packing.read.can_pack", lambda _: False)
            run = tiny.FakeRun(tmp_path / str(packs))
            trainer = Trainer(prepare(config), run)
            trainer.fit()
            runs[packs] = (trainer, [row for row in run.metrics if "loss" in row], run.metrics[-1]["heldout"])
    (packed, curve, heldout), (unpacked, other, held) = runs[True], runs[False]
    assert packed.plan == unpacked.plan
    assert len(curve) == len(other) == 10
    for one, two in zip(curve, other, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    assert heldout["loss"] == pytest.approx(held["loss"], rel=1e-4)
    for name, parameter in packed.named.items():
        torch.testing.assert_close(parameter, unpacked.named[name], atol=1e-3, rtol=1e-3)
    # What solutions of a question begin with was read once.
    assert curve[-1]["read_share"] < 0.8 < 1 <= other[-1]["read_share"]


def test_a_loss_that_is_not_finite_stops_the_run(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    trainer = Trainer(prepare(config), tiny.FakeRun(tmp_path))
    with torch.no_grad():
        next(iter(trainer.named.values())).fill_(float("nan"))
    with pytest.raises(ShepherdError, match="lower learning_rate"):
        trainer._step(0)


def test_rows_longer_than_the_base_can_read_are_refused(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    rows = [StepRow("How many?", tuple(f"Step {i}: 1 + 1 = 2." for i in range(1, 40)), (1.0,) * 39)]
    data = str(tiny.write_rows(tmp_path / "rows.jsonl", rows))
    with pytest.raises(ShepherdError, match="--set max_length=256"):
        train(config.model_copy(update={"data": data, "eval_fraction": 0.0}), tiny.FakeRun(tmp_path))


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("none", "float32"), ("none", "bfloat16"), ("nf4", "bfloat16")]
)
def test_each_precision_trains_and_loads(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, quantization: Any, dtype: Any
) -> None:
    update = {"quantization": quantization, "dtype": dtype, "max_steps": 2, "gradient_checkpointing": True}
    result = train(config.model_copy(update=update), tiny.FakeRun(tmp_path))
    (scores,) = load_verifier(str(tmp_path)).score("How many?", ["1 + 1 = 2.\n2 + 2 = 4."])
    assert all(0 < score < 1 for score in scores)
    assert result.metrics["loss"] > 0


@pytest.mark.gpu
def test_on_cuda_it_trains_resumes_and_loads(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    update = {"device": "cuda", "dtype": "bfloat16", "optimizer": "paged_adamw_8bit", "max_steps": 4}
    one = train(config.model_copy(update=update), tiny.FakeRun(tmp_path))
    again = train(config.model_copy(update=update), tiny.FakeRun(tmp_path))
    assert again.verifier_id == one.verifier_id
    (scores,) = load_verifier(str(tmp_path), device="cuda").score("How many?", ["1 + 1 = 2."])
    assert all(0 < score < 1 for score in scores)


def test_a_heldout_file_is_never_trained_on(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    held = tiny.make_rows(240)[:20]
    path = tiny.write_rows(tmp_path / "held.jsonl", held)
    prepared = prepare(config.model_copy(update={"heldout": str(path), "eval_fraction": 0.0}))
    questions = {row.question for row in held}
    assert len(prepared.heldout.rows) == 20
    assert not questions & {row.row.question for row in prepared.train.rows}


def test_what_it_was_trained_on_and_its_calibration_are_kept(
    config: TrainPrmConfig, tiny: Any, tmp_path: Path
) -> None:
    folder = train(config, tiny.FakeRun(tmp_path)).folder
    described = read_description(folder)
    prepared = prepare(config)
    kept = [text_length(row.row.question, row.row.steps[: len(row.labels)]) for row in prepared.train.rows]
    found = described.training_text
    assert found is not None
    assert (found["texts"], found["max"]) == (len(kept), max(kept))
    assert (
        sum(length <= found["p50"] for length in kept)
        >= len(kept) / 2
        > sum(length < found["p50"] for length in kept)
    )
    # Fitted on the held-out steps: no map raises their loss.
    calibrations = read_calibration(folder)
    rows = prepared.heldout.rows
    scores = load_verifier(str(folder)).score_steps(
        [(row.row.question, row.row.steps[: len(row.labels)]) for row in rows]
    )
    flat = np.concatenate(scores)
    good = np.concatenate([row.labels for row in rows]) >= 0.5
    assert calibrations.fitted_on["steps"] == len(flat)
    for kind in ("temperature", "isotonic"):
        assert binary_nll(calibrations.of(kind)(flat), good) <= binary_nll(flat, good) + 1e-6
    plain = replace(described, training_text=None, calibration=None)
    assert plain.id == described.id


def test_nothing_held_out_is_allowed_and_said(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    result = train(config.model_copy(update={"eval_fraction": 0.0, "max_steps": 1}), tiny.FakeRun(tmp_path))
    assert result.metrics == {}
    assert "nothing is known of its quality" in (result.folder / "README.md").read_text()


def test_metrics_and_tensorboard_are_written(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    run = tiny.FakeRun(tmp_path)
    train(config.model_copy(update={"max_steps": 2, "tensorboard": True}), run)
    step = run.metrics[0]
    assert step["step"] == 1
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_s"} <= step.keys()
    heldout = run.metrics[-1]["heldout"]
    assert {"loss", "auc", "auc_within_position", "auc_within_question"} <= heldout.keys()
    assert heldout["auc"].keys() >= {"value", "baseline"}
    assert next((tmp_path / "tensorboard").iterdir()).name.startswith("events.out.tfevents")
    assert any("tokens/s" in line for line in run.logged)


def test_a_full_disk_is_one_line_and_what_was_finished_stays(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: the second checkpoint does not fit."""
    import resource

    whole = train(config, tiny.FakeRun(tmp_path / "whole"))
    path = tmp_path / "full"
    path.mkdir()
    said = tmp_path / "said.txt"

    def fill() -> None:
        save = torch.save
        seen = []

        def limited(state: Any, handle: Any) -> None:
            seen.append(1)
            if len(seen) == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            save(state, handle)

        torch.save = limited
        try:
            train(config, tiny.FakeRun(path))
        except ShepherdError as error:
            said.write_text(str(error))

    assert _in_child(fill) == 0
    assert said.read_text().count("\n") == 0
    assert "nothing finished was lost, free some space" in said.read_text()
    assert [each.name for each in (path / "checkpoints").iterdir()] == ["step-00000004"]
    assert _bytes(train(config, tiny.FakeRun(path)).folder) == _bytes(whole.folder)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (4, 8, 12):
        state = checkpoint.Checkpoint(
            checkpoint.Progress(step=step), "p", {}, None, {}, [torch.get_rng_state()]
        )
        checkpoint.save(tmp_path, state, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000008", "step-00000012"]
    found = checkpoint.latest(tmp_path, "p")
    assert found is not None
    assert found.progress.step == 12
