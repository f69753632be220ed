"""The heads: what they compute, what they learn from, and that they are saved, loaded and resumed whole."""

from __future__ import annotations

import json
import math
import random
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier import load_verifier
from verifier.batches import EncodedRow, EncodedRows
from verifier.config import EarlyStopping, LoraConfig, OutcomeConfig, TrainPrmConfig
from verifier.description import read_description, rule_of_verifier
from verifier.heads import Classifier, LabelRows, Outcome, make_head
from verifier.heldout import evaluate
from verifier.loss import PairLoss, StepLoss, pair_losses
from verifier.model import load_base, read_with
from verifier.outcome import in_pairs, outcome_labels, plan_in_pairs
from verifier.prepare import prepare
from verifier.tags import resolve
from verifier.training import Trainer, train

PAIRWISE = OutcomeConfig(loss="pairwise")
KINDS: dict[str, dict[str, Any]] = {
    "lm": {"head": "lm"},
    "classifier": {"head": "classifier"},
    "pointwise": {"head": "outcome"},
    "pairwise": {"head": "outcome", "outcome": PAIRWISE},
}


@pytest.fixture
def config(tiny_base: Path, tiny_rows: Path) -> TrainPrmConfig:
    """8 steps, a checkpoint every 3."""
    return TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny_rows),
        lora=LoraConfig(rank=4, alpha=8, dropout=0.1),
        loss="pair",
        optimizer="muon",
        learning_rate=0.02,
        batch_tokens=700,
        max_steps=8,
        checkpoint_every=3,
        eval_fraction=0.2,
        threads=1,
        tensorboard=False,
    )


def _with(config: TrainPrmConfig, **changed: Any) -> TrainPrmConfig:
    return TrainPrmConfig.model_validate({**config.model_dump(), **changed})


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_classifier_is_token_classification(tiny_base: Path, tiny_tokenizer: Any) -> None:
    from transformers import AutoModelForTokenClassification

    causal = load_base(str(tiny_base), quantization="none", dtype="float32", device=torch.device("cpu"))
    torch.manual_seed(3)
    reader = read_with("classifier", causal, resolve(tiny_tokenizer))
    assert isinstance(reader.head, Classifier)
    with torch.no_grad():
        reader.head.bias.copy_(torch.tensor([0.3, -0.2]))
    theirs = AutoModelForTokenClassification.from_pretrained(tiny_base, num_labels=2, dtype=torch.float32)
    theirs.score.load_state_dict(reader.head.state_dict())
    theirs.eval()
    ids = torch.randint(3, 300, (3, 17), generator=torch.Generator().manual_seed(0))
    at = torch.tensor([4, 16, 20, 50])
    with torch.no_grad():
        expected = theirs(input_ids=ids).logits.flatten(0, 1)[at]
        torch.testing.assert_close(reader.pair_logits(reader.hidden(ids, at)), expected, atol=1e-5, rtol=0)


def test_the_outcome_score_is_the_sigmoid_of_its_value() -> None:
    head = make_head("outcome", 3, 0.02)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        head.bias.fill_(0.25)
        logits = head.pair_logits(torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.bfloat16))
    assert logits.tolist() == [[0.75, 0.0]]
    assert float(logits.softmax(-1)[0, 0]) == pytest.approx(1 / (1 + math.exp(-0.75)))
    with pytest.raises(ShepherdError, match="lm has no weights of its own"):
        make_head("lm", 3, 0.02)


def test_the_pairwise_loss_by_hand() -> None:
    """Question a: one right (1.0) above two wrong (0.0, 2.0); question b has no pair; c is soft labels."""
    values = torch.tensor([1.0, 0.0, 5.0, 2.0, -1.0, 0.5])
    targets = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.4, 0.6])
    questions = ["a", "a", "b", "a", "c", "c"]

    def minus_log_sigmoid(margin: float) -> float:
        return math.log(1 + math.exp(-margin))

    expected = [(minus_log_sigmoid(1.0) + minus_log_sigmoid(-1.0)) / 2, minus_log_sigmoid(1.5)]
    assert pair_losses(values, targets, questions).tolist() == pytest.approx(expected, rel=1e-6)
    assert PairLoss().count(targets, questions) == 2
    # The level of the values says nothing.
    torch.testing.assert_close(
        pair_losses(values + 7, targets, questions), pair_losses(values, targets, questions)
    )
    with pytest.raises(ShepherdError, match="has no pair"):
        pair_losses(values[:1], targets[:1], ["a"])


def test_the_pointwise_loss_is_binary_cross_entropy_with_soft_labels() -> None:
    head = Outcome(1)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.zero_()
    reader: Any = SimpleNamespace(head=head, pair_logits=head.pair_logits)
    values, targets = torch.tensor([[0.4], [-1.3]]), torch.tensor([1.0, 0.25])
    loss = StepLoss("pair")
    expected = torch.nn.functional.binary_cross_entropy_with_logits(values[:, 0], targets, reduction="none")
    torch.testing.assert_close(loss.losses(loss.values(reader, values), targets, ["q", "q"]), expected)


def test_only_the_last_tag_of_a_whole_solution_is_supervised(
    tiny: Any, tiny_tokenizer: Any, encode_rows: Any
) -> None:
    rows = tiny.make_rows(8)
    contract = resolve(tiny_tokenizer)

    def encoded(some: list[StepRow], max_length: int) -> EncodedRows:
        supervision = partial(outcome_labels, label="last")
        made: EncodedRows = encode_rows(some, tiny_tokenizer, contract, max_length, supervision)
        return made

    found = encoded(rows, 512)
    for row, original in zip(found.rows, rows, strict=True):
        assert len(row.tags) == 2
        assert np.isnan(row.labels[0])
        assert row.labels[1] == original.labels[1]
    # Cut off before its end, or with an end that nobody judged, a solution is not known to be right or wrong.
    longest = int(found.lengths.max())
    assert encoded(rows, longest - 1).rows_too_long >= 1
    unknown = [StepRow(row.question, row.steps, (0.0, None)) for row in rows]
    assert encoded(unknown, 512).rows_unlabelled == 8


def _rows_of(drawn: list[tuple[int, int, bool]]) -> EncodedRows:
    rows = [
        EncodedRow(
            np.zeros(length, dtype=np.int32),
            np.array([length - 1], dtype=np.int32),
            np.array([float(right)], dtype=np.float32),
            StepRow(f"q{question}", ("s",), (float(right),), id=str(number)),
        )
        for number, (question, length, right) in enumerate(drawn)
    ]
    return EncodedRows(rows, 0, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30), st.booleans()), min_size=2, max_size=40),
    st.integers(10, 120),
    st.one_of(st.none(), st.integers(2, 6)),
)
def test_every_batch_of_pairs_has_both_kinds_of_each_question(
    drawn: list[tuple[int, int, bool]], batch_tokens: int, batch_solutions: int | None
) -> None:
    rows = _rows_of(drawn)
    both = {q for q, _, right in drawn if right} & {q for q, _, right in drawn if not right}
    if not both:
        with pytest.raises(ShepherdError, match="no question of the training rows has both"):
            in_pairs(rows, "training")
        return
    kept = in_pairs(rows, "training")
    assert kept.rows_one_class == sum(q not in both for q, _, _ in drawn)

    def plan() -> list[list[int]]:
        made = plan_in_pairs(
            kept, epochs=2, batch_tokens=batch_tokens, batch_solutions=batch_solutions, seed=5
        )
        return [batch.tolist() for batch in made]

    batches = plan()
    assert batches == plan()
    for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        assert {row for batch in half for row in batch} == set(range(len(kept.rows)))
    for batch in batches:
        kinds: dict[str, set[bool]] = {}
        for row in batch:
            kinds.setdefault(kept.rows[row].row.question, set()).add(bool(kept.rows[row].labels[-1]))
        assert all(len(found) == 2 for found in kinds.values())
        size = max(len(kept.rows[row].ids) for row in batch) * len(batch)
        too_large = size > batch_tokens or (batch_solutions is not None and len(batch) > batch_solutions)
        # What is too large has at least one side of one question down to a single solution.
        right = sum(bool(kept.rows[row].labels[-1]) for row in batch)
        assert not too_large or (len(kinds) == 1 and 1 in (right, len(batch) - right))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_loaded_and_scored_it_is_the_same(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, kind: str
) -> None:
    config = _with(config, max_steps=3, **KINDS[kind])
    result = train(config, tiny.FakeRun(tmp_path))
    prepared = prepare(config)
    loaded = load_verifier(str(tmp_path))
    loss = PairLoss() if config.is_pairwise else StepLoss("pair")
    found = evaluate(
        loaded.reader, prepared.heldout, loss=loss, batch_tokens=config.batch_tokens, pad_id=prepared.pad_id
    )
    assert found.loss == result.metrics["loss"]
    assert loaded.rule == rule_of_verifier(str(tmp_path)) == ("last" if config.head == "outcome" else "min")
    assert loaded.id == result.verifier_id
    assert (tmp_path / "verifier" / "head.safetensors").exists() == (kind != "lm")
    adapter = sum(p.numel() for name, p in loaded.reader.model.named_parameters() if "lora_" in name)
    assert result.trainable_parameters == adapter + {"lm": 0, "classifier": 2 * 33}.get(kind, 33)
    assert result.peak_memory_bytes > 50 << 20
    assert result.train_s > 0


@pytest.mark.parametrize("kind", ["classifier", "pointwise", "pairwise"])
def test_stopped_anywhere_it_resumes_to_the_same_bytes(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = {"early_stopping": EarlyStopping(patience=9), "eval_every": 2}
    config = _with(config, **KINDS[kind], **stopping)
    whole = train(config, tiny.FakeRun(tmp_path / "whole"))
    run_step = Trainer._step

    def die(self: Trainer, number: int) -> dict[str, Any]:
        if number == 5:
            raise KeyboardInterrupt
        return run_step(self, number)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        train(config, tiny.FakeRun(tmp_path / "stopped"))
    monkeypatch.setattr(Trainer, "_step", run_step)
    run = tiny.FakeRun(tmp_path / "stopped")
    again = train(config, run)
    assert "resumed at step 3 of 8" in run.logged
    assert _bytes(again.folder) == _bytes(whole.folder)
    assert again.train_s > 0


def test_the_adapter_begins_the_same_under_every_head(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    trainers = {
        head: Trainer(prepare(_with(config, head=head)), tiny.FakeRun(tmp_path / head))
        for head in ("lm", "classifier", "outcome")
    }
    own = {head: {n for n in each.named if n.startswith("head.")} for head, each in trainers.items()}
    assert own["lm"] == set()
    assert own["classifier"] == own["outcome"] == {"head.weight", "head.bias"}
    for name, parameter in trainers["lm"].named.items():
        for head in ("classifier", "outcome"):
            assert torch.equal(parameter, trainers[head].named[name])
    weight = trainers["classifier"].named["head.weight"]
    assert weight.abs().min() > 0
    again = Trainer(prepare(_with(config, head="classifier")), tiny.FakeRun(tmp_path / "again"))
    assert torch.equal(weight, again.named["head.weight"])
    assert isinstance(trainers["lm"].reader.head, LabelRows)


def test_the_head_is_adamws_and_has_its_own_rate(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    config = _with(config, head="classifier", head_learning_rate=0.1, max_steps=1)
    trainer = Trainer(prepare(config), tiny.FakeRun(tmp_path))
    muon, adamw = trainer.optimizers
    assert type(muon).__name__ == "Muon"
    assert type(adamw).__name__ == "AdamW"
    (group,) = adamw.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for n, p in trainer.named.items() if "head." in n}
    values = trainer._step(0)
    assert values["learning_rate"] == muon.param_groups[0]["lr"] == pytest.approx(0.02)
    assert group["lr"] == pytest.approx(0.1)


def test_each_head_learns_what_is_in_the_rows(tiny: Any, config: TrainPrmConfig, tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = []
    for number in range(400):  # a step is right if its digit is small, a solution if its last step is
        digits = [rng.randint(0, 9) for _ in range(2)]
        steps = tuple(f"Step {i}: so {digit}." for i, digit in enumerate(digits, start=1))
        labels = tuple(float(digit < 5) for digit in digits)
        rows.append(StepRow(f"How many in {number // 4}?", steps, labels))
    config = _with(
        config,
        data=str(tiny.write_rows(tmp_path / "rows.jsonl", rows)),
        lora=LoraConfig(rank=8, alpha=16),
        max_steps=40,
        epochs=40,
        batch_tokens=1500,
        checkpoint_every=None,
    )
    steps = train(_with(config, **KINDS["classifier"]), tiny.FakeRun(tmp_path / "classifier"))
    assert steps.metrics["auc"]["value"] > 0.9
    for kind in ("pointwise", "pairwise"):
        result = train(_with(config, **KINDS[kind]), tiny.FakeRun(tmp_path / kind))
        assert result.metrics["solution_auc"]["value"] > 0.9
        assert result.metrics["auc_within_question"]["value"] > 0.9
        # Pairs leave the level of the values open; it is set so that 0.5 parts right from wrong.
        assert result.metrics["solution_balanced_accuracy"]["value"] > 0.8
        assert result.metrics["solution_auc"]["baseline"] == 0.5  # all are of one length
        card = (result.folder / "README.md").read_text()
        assert "# Outcome verifier" in card
        assert "solution ROC AUC" in card
    assert "trained rows" in (steps.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def classifier(tiny: Any, tiny_base: Path, tiny_rows: Path, tmp_path_factory: Any) -> Path:
    config = TrainPrmConfig(
        base=str(tiny_base), data=str(tiny_rows), head="classifier", loss="pair", max_steps=1,
        batch_tokens=700, threads=1, tensorboard=False,
    )  # fmt: skip
    folder: Path = train(config, tiny.FakeRun(tmp_path_factory.mktemp("classifier"))).folder
    return folder


def test_another_head_is_refused(classifier: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(classifier, tmp_path / "copy"))
    weights = (copy / "head.safetensors").read_bytes()
    (copy / "head.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ShepherdError, match="not the head that verifier"):
        load_verifier(str(copy))
    (copy / "head.safetensors").unlink()
    with pytest.raises(ShepherdError, match="missing, or not the head"):
        load_verifier(str(copy))
    description = json.loads((copy / "verifier.json").read_text())
    (copy / "verifier.json").write_text(json.dumps({**description, "head": "crystal"}))
    with pytest.raises(ShepherdError, match="head is 'crystal', expected lm or classifier or outcome"):
        load_verifier(str(copy))


def test_a_head_of_another_shape_is_refused(classifier: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(classifier, tmp_path / "copy"))
    description = json.loads((copy / "verifier.json").read_text())
    (copy / "verifier.json").write_text(json.dumps({**description, "head": "outcome"}))
    with pytest.raises(ShepherdError, match=r"expected .*\(1, 32\).*, found .*\(2, 32\)"):
        load_verifier(str(copy))


def test_the_head_is_part_of_the_id_and_old_folders_have_none(
    classifier: Path, tiny_verifier: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    mine = read_description(classifier)
    assert mine.head == "classifier"
    assert replace(mine, head_sha256="0" * 64).id != mine.id != replace(mine, head="outcome").id
    copy = Path(shutil.copytree(tiny_verifier, tmp_path / "old"))
    description = json.loads((copy / "verifier.json").read_text())
    assert description.pop("head") == "lm"
    assert description.pop("head_sha256") is None
    (copy / "verifier.json").write_text(json.dumps(description))
    old = read_description(copy)
    assert old.head == "lm"
    assert old.id == read_description(tiny_verifier).id
    assert load_verifier(str(copy)).rule == "min"


def test_the_packaged_verifier_keeps_its_id() -> None:
    from shepherd.assets import asset

    assert read_description(asset("verifier")).id == "227e51b2aa78"
    assert rule_of_verifier("embedded") == "min"
    assert rule_of_verifier("someone/published-prm") == "min"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"head": "classifier", "loss": "vocab"}, "loss: vocab needs head: lm"),
        ({"head": "outcome", "outcome": PAIRWISE, "class_weighting": "balanced"}, "a pair has both classes"),
        (
            {"head": "outcome", "outcome": PAIRWISE, "pass_tokens": 64},
            "a batch of pairs has one backward pass",
        ),
        (
            {"head": "outcome", "outcome": PAIRWISE, "group_by": "question", "question_solutions": 2},
            "pairs are of all solutions of a question",
        ),
        ({"early_stopping": EarlyStopping(metric="solution_auc")}, "measured for head: outcome alone"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    config: TrainPrmConfig, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        _with(config, **changed)


def test_held_out_rows_without_a_pair_are_told_before_training(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path
) -> None:
    alike = [StepRow(f"Who has {i}?", ("Step 1: 1.",), (1.0,)) for i in range(4)]
    held = tiny.write_rows(tmp_path / "held.jsonl", alike)
    with pytest.raises(ShepherdError, match="no question of the held-out rows has both"):
        prepare(_with(config, heldout=str(held), **KINDS["pairwise"]))
