"""One DPO update on the weak embedded generator: what it moves, what it is held to, and going on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.embedded.world import generate_problems
from generation.learn.dpo import update as module
from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.logps import pair_logps, pair_means
from generation.learn.dpo.result import DpoResult
from generation.learn.dpo.rows import encode_pairs
from generation.learn.dpo.update import update
from generation.learn.logps import row_logps
from generation.learn.policy import load_policy, policy_id
from generation.learn.sft.solutions import solution_text
from generation.pairs.pair import Pair, Side
from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from shepherd.runs import Run
from verifier.adapter import write_adapter
from verifier.model import load_tokenizer

LORA = {"rank": 4, "alpha": 8}
WEIGHTS = "adapter/adapter_model.safetensors"

Updating = Callable[..., DpoResult]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Right solutions of embedded problems, rejected ones with their last number gone wrong."""
    made = []
    for drawn in generate_problems("train", 12, 0):
        row = StepRow(drawn.problem.question, drawn.solution, (1.0,) * len(drawn.solution))
        right = " " + solution_text(row, tags=True)
        body, _, answer = right.rpartition("The answer is: ")
        number = answer.split()[0]
        wrong = f"{body}The answer is: {int(number) + 1}" if number.isdigit() else f"{body}The answer is: 1"
        made.append(Pair(row.question, Side(right), Side(wrong, ends=False)))
    return made


@pytest.fixture
def updating(tmp_path: Path, pairs: list[Pair]) -> Updating:
    """An update of two steps in a folder of its own; later options win."""
    runs: dict[str, Run] = {}

    def run_update(folder: str, *, keys: dict[str, Any] | None = None, **options: Any) -> DpoResult:
        config = DpoConfig(**{"steps": 2, "batch_size": 2, "lora": LORA, **(keys or {})})
        if folder not in runs:
            runs[folder] = Run.create("dpo-loop", config, tmp_path / "run" / folder)
        given: dict[str, Any] = {
            "name": "embedded:weak", "start": None, "reference": None, "seed": 0, "device": "cpu", "round": 1,
        }  # fmt: skip
        learnt = options.pop("pairs", pairs)
        weights = options.pop("weights", [1.0] * len(learnt))
        return update(
            learnt, weights, config, folder=tmp_path / folder, run=runs[folder], **{**given, **options}
        )

    return run_update


def _trail(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_an_update_on_two_pairs_raises_their_margin(
    updating: Updating, pairs: list[Pair], tmp_path: Path
) -> None:
    keys = {"steps": 8, "learning_rate": 2e-3}
    done = updating("one", keys=keys, pairs=pairs[:2])
    assert done.before.margin == 0
    assert done.before.loss == math.log(2)
    assert done.after.margin > 0.05
    assert done.after.accuracy == 1
    assert done.after.loss < done.before.loss
    assert done.last_loss < done.first_loss
    assert done.steps == 8
    assert done.counts["pairs"] == 2
    assert done.tokens_per_s > 0
    assert done.start == done.reference == policy_id("embedded:weak", None)
    assert done.policy == policy_id("embedded:weak", tmp_path / "one" / "adapter")
    trail = _trail(tmp_path / "one")
    assert [row["step"] for row in trail] == list(range(1, 9))
    assert trail[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)  # a fresh adapter changes nothing
    assert trail[-1]["margin"] > 0
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "one" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["step"] == 8
    assert rows[-1]["round"] == 1
    assert {"loss", "margin", "accuracy", "chosen", "rejected", "entropy"} <= rows[-1].keys()
    # The adapter on disk is the policy that was measured.
    encoded = encode_pairs(pairs[:2], load_tokenizer("embedded:weak"), name="weak", max_length=512)
    model = load_policy("embedded:weak", DpoConfig(), adapter=tmp_path / "one", seed=0, device="cpu")
    assert pair_logps(model, encoded.rows).chosen.mean() == pytest.approx(done.after.chosen, abs=1e-4)
    again = updating("one", keys=keys, pairs=pairs[:2])
    assert again == done
    with pytest.raises(ShepherdError, match=r"update\.json: made from other pairs, weights or policies"):
        updating("one", keys=keys, pairs=pairs[:3])


def test_what_trl_sees_is_what_pair_logps_measures(
    updating: Updating, pairs: list[Pair], tmp_path: Path
) -> None:
    """TRL's own chosen and rejected log-probabilities of the first batch, before the first step."""
    done = updating("one", keys={"steps": 1, "batch_size": len(pairs)})
    (step,) = _trail(tmp_path / "one")
    assert step["chosen"] == pytest.approx(done.before.chosen, rel=1e-5)
    assert step["rejected"] == pytest.approx(done.before.rejected, rel=1e-5)


def test_the_reference_decides_the_update(updating: Updating, tmp_path: Path) -> None:
    first = updating("first", keys={"learning_rate": 2e-2, "steps": 3})
    start = tmp_path / "first"
    second = {"start": start, "keys": {"learning_rate": 2e-3}}
    initial = updating("initial", reference=None, **second)
    previous = updating("previous", reference=start, **second)
    assert initial.start == previous.start == previous.reference == first.policy
    assert initial.reference == first.start != previous.reference
    assert previous.before.margin == 0
    assert _trail(tmp_path / "previous")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert initial.before.margin == pytest.approx(first.after.margin, abs=1e-5)
    assert initial.before.margin > 0.01
    assert initial.before.chosen == previous.before.chosen == pytest.approx(first.after.chosen, abs=1e-4)
    assert initial.policy != previous.policy
    kept = json.loads((tmp_path / "initial" / "logps.json").read_text())
    assert kept["reference"]["policy"] == first.start
    assert kept["reference"]["chosen"] != kept["start"]["chosen"]


def test_an_update_does_what_plain_trl_does(updating: Updating, pairs: list[Pair], tmp_path: Path) -> None:
    """TRL tokenises, computes the reference and steps by itself: the same policy comes out."""
    import datasets
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    class Plain(DPOTrainer):
        def _send_telemetry(self) -> None:
            pass

    keys = {"steps": 2, "batch_size": 3, "learning_rate": 2e-3, "scheduler": "constant", "warmup_ratio": 0.0}
    ending = [Pair(each.prompt, each.chosen, Side(each.rejected.text)) for each in pairs[:6]]
    started = tmp_path / "started"
    model = load_policy("embedded:weak", DpoConfig(lora=LORA), adapter=None, seed=4, device="cpu")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.02)
    write_adapter(started, model, "embedded:weak")
    done = updating("ours", keys=keys, pairs=ending, start=started, reference=started)
    order = module.make_plan(
        ending, [1.0] * 6, DpoConfig(**keys), load_tokenizer("embedded:weak"),
        name="embedded:weak", start=started, reference=started, seed=0,
    ).order  # fmt: skip
    texts = {
        "prompt": [ending[index].prompt for index in order],
        "chosen": [ending[index].chosen.text for index in order],
        "rejected": [ending[index].rejected.text for index in order],
    }
    arguments = DPOConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=3, learning_rate=2e-3,
        lr_scheduler_type="constant", optim="adamw_torch", beta=0.1, max_grad_norm=1.0, bf16=False,
        use_cpu=True, gradient_checkpointing=False, train_sampling_strategy="sequential", report_to="none",
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False, logging_steps=1,
    )  # fmt: skip
    trainer = Plain(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(texts),
        processing_class=load_tokenizer("embedded:weak"),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    encoded = encode_pairs(ending, load_tokenizer("embedded:weak"), name="weak", max_length=512)
    theirs = pair_logps(model, encoded.rows)
    assert theirs.chosen.mean() == pytest.approx(done.after.chosen, abs=1e-3)
    assert theirs.rejected.mean() == pytest.approx(done.after.rejected, abs=1e-3)
    assert abs(done.after.rejected - done.before.rejected) > 0.1
    mine = [row["loss"] for row in _trail(tmp_path / "ours")]
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert mine == pytest.approx(logged, abs=1e-4)
    assert mine[0] != mine[1]


@pytest.mark.slow
def test_weights_decide_what_is_learnt(updating: Updating, pairs: list[Pair], tmp_path: Path) -> None:
    """Two pairs that contradict each other: the heavier one wins."""
    one = pairs[0]
    both = [one, Pair(one.prompt, one.rejected, one.chosen)]
    keys = {"steps": None, "epochs": 2, "learning_rate": 2e-3}
    rows = _encoded([one]).rows
    first = load_policy("embedded:weak", DpoConfig(lora=LORA), adapter=None, seed=0, device="cpu")
    margins = []
    for name, weights in (("one", [3.0, 1.0]), ("other", [1.0, 3.0])):
        assert updating(name, keys=keys, pairs=both, weights=weights).steps == 4
        made = load_policy("embedded:weak", DpoConfig(), adapter=tmp_path / name, seed=0, device="cpu")
        margins.append(pair_means(pair_logps(made, rows), pair_logps(first, rows), 0.1).margin)
    assert margins[0] > 0 > margins[1]


@pytest.mark.parametrize(
    "keys",
    [
        {"loss": "ipo"},
        *(
            pytest.param(keys, marks=pytest.mark.slow)
            for keys in (
                {"loss": "sigmoid_norm", "beta": 2.0},
                {"loss": "hinge"},
                {"loss": "robust", "label_smoothing": 0.1},
                {"loss": "nca_pair"},
                {"loss": "apo_zero"},
                {"loss": "apo_down"},
            )
        ),
    ],
    ids=lambda keys: str(keys["loss"]),
)
def test_each_loss_raises_the_margin(updating: Updating, pairs: list[Pair], keys: dict[str, Any]) -> None:
    done = updating("one", keys={"learning_rate": 2e-3, "steps": 3, **keys}, pairs=pairs[:2])
    assert done.after.margin > 0.01


@pytest.mark.slow
def test_the_sft_term_holds_the_chosen_side_up(updating: Updating, pairs: list[Pair], tmp_path: Path) -> None:
    keys = {"learning_rate": 5e-3, "steps": 3}
    plain = updating("plain", keys=keys, pairs=pairs[:2])
    held = updating("held", keys={**keys, "sft_weight": 5.0}, pairs=pairs[:2])
    assert held.after.chosen > plain.after.chosen
    tokens = sum(len(row.chosen) for row in _encoded(pairs[:2]).rows)
    expected = math.log(2) + 5.0 * -held.before.chosen * 2 / tokens  # both pairs are the first batch
    assert _trail(tmp_path / "held")[0]["loss"] == pytest.approx(expected, rel=1e-4)


def _encoded(pairs: list[Pair]) -> Any:
    return encode_pairs(pairs, load_tokenizer("embedded:weak"), name="weak", max_length=512)


def _kill_in_step(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], None]:
    """Interrupt the step of this number; gives what takes the trap away."""
    from transformers import Trainer

    plain, taken = Trainer.training_step, []

    def counted(self: Trainer, *arguments: Any, **more: Any) -> Any:
        taken.append(self.state.global_step)
        if len(set(taken)) == step:
            raise KeyboardInterrupt
        return plain(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "training_step", counted)
    return lambda: monkeypatch.setattr(Trainer, "training_step", plain)


RESUMED = [
    {"accumulation": 2, "lora": {**LORA, "dropout": 0.3}},
    pytest.param(
        {"quantization": "nf4", "optimizer": "muon", "gradient_checkpointing": True, "loss": "ipo"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("keys", RESUMED, ids=["dropout", "nf4"])
def test_a_killed_update_goes_on_to_the_same_bytes(
    updating: Updating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    """Killed in the fourth step; the checkpoint of the second is there, half of another lies beside it."""
    keys = {"steps": 5, "checkpoint_every": 2, "learning_rate": 5e-3, **keys}
    whole = updating("whole", keys=keys)
    let_it_run = _kill_in_step(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        updating("killed", keys=keys)
    folder = tmp_path / "killed"
    assert not (folder / WEIGHTS).exists()
    assert [row["step"] for row in _trail(folder)] == [1, 2, 3]
    (folder / "checkpoints" / "step-00000003").mkdir()
    let_it_run()
    monkeypatch.setattr(module, "other_policy", None)  # the reference's numbers are not made again
    torch.manual_seed(99)
    done = updating("killed", keys=keys)
    assert "DPO resumed at step 2 of 5" in (tmp_path / "run" / "killed" / "run.log").read_text()
    for name in (WEIGHTS, "adapter/adapter_config.json", "steps.jsonl", "logps.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (done.policy, done.before, done.after) == (whole.policy, whole.before, whole.after)
    assert (done.first_loss, done.last_loss) == (whole.first_loss, whole.last_loss)


def test_killed_after_the_last_step_only_the_end_is_made_again(
    updating: Updating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = updating("whole")
    written = module.write_adapter

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        updating("killed")
    assert not (tmp_path / "killed" / "adapter").exists()
    monkeypatch.setattr(module, "write_adapter", written)
    _kill_in_step(monkeypatch, 1)  # no step is left to take
    done = updating("killed")
    assert done.policy == whole.policy
    assert done.after == whole.after


def test_other_pairs_under_a_resume_are_refused(
    updating: Updating, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kill_in_step(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        updating("one", keys={"checkpoint_every": 1})
    before = (tmp_path / "one" / "logps.json").read_bytes()
    with pytest.raises(
        ShepherdError, match=r"logps\.json: made from other pairs, weights or policies"
    ) as told:
        updating("one", keys={"checkpoint_every": 1}, pairs=pairs[::-1])
    assert "\n" not in str(told.value)
    assert (tmp_path / "one" / "logps.json").read_bytes() == before


def test_a_gradient_that_is_not_finite_never_reaches_the_adapter(
    updating: Updating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    plain = Trainer.training_step

    def broken(self: Trainer, model: Any, *arguments: Any, **more: Any) -> Any:
        loss = plain(self, model, *arguments, **more)
        if self.state.global_step == 1:
            next(p for p in model.parameters() if p.grad is not None).grad.fill_(math.nan)
        return loss

    monkeypatch.setattr(Trainer, "training_step", broken)
    with pytest.raises(ShepherdError, match="step 2: the loss or its gradient is not finite"):
        updating("one", keys={"checkpoint_every": 1})
    assert not (tmp_path / "one" / "adapter").exists()
    assert [path.name for path in (tmp_path / "one" / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_broken_adapter_is_one_line_before_any_step(updating: Updating, tmp_path: Path) -> None:
    model = load_policy("embedded:weak", DpoConfig(lora=LORA), adapter=None, seed=0, device="cpu")
    next(p for name, p in model.named_parameters() if "lora_B" in name).data.fill_(math.nan)
    write_adapter(tmp_path / "broken", model, "embedded:weak")
    with pytest.raises(ShepherdError, match="log-probabilities of the pairs are not finite"):
        updating("one", reference=tmp_path / "broken")
    assert not (tmp_path / "one" / "checkpoints").exists()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"max_length": 16}, "no pair is left of 12"),
        ({"lora": {**LORA, "targets": ["lm_head"]}}, "lora.targets: the output head is among them"),
    ],
    ids=["too-long", "head"],
)
def test_what_cannot_be_learnt_is_one_line(updating: Updating, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ShepherdError, match=said) as told:
        updating("one", keys=keys)
    assert "\n" not in str(told.value)


def test_pairs_longer_than_the_model_reads_are_one_line(updating: Updating, pairs: list[Pair]) -> None:
    long = Pair(pairs[0].prompt, Side(pairs[0].chosen.text * 40), pairs[0].rejected)
    with pytest.raises(
        ShepherdError, match=r"max_length: the longest pair has [\d]+ tokens, embedded:weak reads"
    ):
        updating("one", keys={"max_length": 100_000}, pairs=[long])


def test_gradient_checkpointing_changes_no_byte(updating: Updating, tmp_path: Path) -> None:
    plain = updating("plain")
    recomputed = updating("recomputed", keys={"gradient_checkpointing": True})
    assert recomputed.policy == plain.policy


@pytest.mark.slow
def test_a_four_bit_base_learns_right_after_it_was_read(
    updating: Updating, pairs: list[Pair], tmp_path: Path
) -> None:
    """Reading in eval mode repacks 4-bit weights on some CPUs, and gradients after it were silently wrong."""
    keys = {"quantization": "nf4", "learning_rate": 2e-3, "steps": 6, "gradient_checkpointing": True}
    done = updating("one", keys=keys, pairs=pairs[:2])
    assert _trail(tmp_path / "one")[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert done.after.margin > 0.02
    on = {"adapter": tmp_path / "one", "seed": 0, "device": "cpu"}
    model = load_policy("embedded:weak", DpoConfig(quantization="nf4"), **on)
    rows = _encoded(pairs[:2]).rows
    assert pair_logps(model, rows).chosen.mean() == pytest.approx(done.after.chosen, abs=1e-4)
    fine = load_policy("embedded:weak", DpoConfig(), **on)
    base = load_policy("embedded:weak", DpoConfig(), adapter=None, seed=0, device="cpu")
    means = pair_means(pair_logps(fine, rows), pair_logps(base, rows), 0.1)
    assert means.margin > 0.02  # on the base in full as well
    states = [p.dtype for p in model.parameters() if p.requires_grad]
    assert set(states) == {torch.float32}
    assert np.isfinite(row_logps(model, [row.chosen_row for row in rows])).all()
