"""Training data from the store: the same bytes as without it, new columns exactly where they must differ."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.diagnostics import text_length
from shepherd import columns
from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier.batches import EncodedRow, EncodedRows, make_plan, plan_digest, text_lengths
from verifier.config import LoraConfig, TrainPrmConfig
from verifier.data import corpus as corpora
from verifier.data import tokens as tokenised
from verifier.data.contaminated import clean_rows
from verifier.data.corpus import corpus_of, read_corpus
from verifier.data.rows import read_rows
from verifier.data.tokens import tokenizer_identity
from verifier.flat import flatten
from verifier.grouped import plan_by_question
from verifier.model import load_tokenizer
from verifier.outcome import in_pairs, plan_in_pairs
from verifier.prepare import Prepared, prepare
from verifier.tags import Template, encode, resolve
from verifier.training import train

SOURCES = 240
EVALUATION = "Tom has 1 apples, buys 2 and then 3. How many apples?"


@pytest.fixture(autouse=True)
def _keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little files are kept as well."""
    monkeypatch.setattr(corpora, "KEPT_BYTES", 1)


@pytest.fixture
def rows(tiny: Any) -> list[StepRow]:
    """Rows with soft labels, unknown ones, solutions of other lengths, repeats and hostile text."""
    made = []
    for number, row in enumerate(tiny.make_rows(SOURCES)):
        question = row.question + (" " if number % 11 == 0 else "")
        labels = list(row.labels) * (1 + number % 3)
        steps = list(row.steps) * (1 + number % 3)
        if number % 5 == 0:
            labels[-1] = None
        if number % 7 == 0:
            labels[0] = 0.1 + 0.2
        if number % 13 == 0:
            steps[0] += " \x00 \\u0000 \x1b[31m \u2028 ки"[: 3 + number % 17].replace("ки", "")
        made.append(StepRow(question, tuple(steps), tuple(labels), "tiny", str(number)))
    return [*made, *made[:9]]


@pytest.fixture
def config(tiny: Any, tiny_base: Path, rows: list[StepRow], tmp_path: Path) -> TrainPrmConfig:
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "1", "question": EVALUATION, "answer": "6"}) + "\n")
    return TrainPrmConfig(
        base=str(tiny_base),
        data=str(tiny.write_rows(tmp_path / "rows.jsonl", rows)),
        evaluation_problems=(str(problems),),
        drop_contaminated=True,
        eval_fraction=0.2,
        eval_limit=20,
        batch_tokens=700,
        max_length=90,
        on_bad_row="skip",
        lora=LoraConfig(rank=4, alpha=8),
        max_steps=4,
        checkpoint_every=2,
        threads=1,
        tensorboard=False,
    )


@pytest.fixture(scope="module")
def two_tags(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer in which § would be a tag as well."""
    folder = tmp_path_factory.mktemp("tokenizers") / "two"
    tiny.make_tokenizer(extra=("so 5. §", "so 5 §\nStep 2: 7")).save_pretrained(folder)
    return str(folder)


def with_(config: TrainPrmConfig, **changes: Any) -> TrainPrmConfig:
    return TrainPrmConfig.model_validate(config.model_dump() | changes)


# --- what the columns must come to: every row by itself, as Python objects --------------------


def by_hand(config: TrainPrmConfig) -> tuple[EncodedRows, EncodedRows, list[Any]]:
    """Rows, held-out rows and plan, made a row at a time from what `read_rows` gives."""
    skip: Any = config.on_bad_row
    found, counts = read_rows(
        config.data, on_bad_row=skip, dedup=bool(config.dedup), limit=config.limit, neutral="good"
    )
    found, _ = clean_rows(found, counts.questions, config)
    if config.heldout is None:
        distinct = sorted({row.question.strip() for row in found})
        order = np.random.default_rng([config.seed, 0x5E]).permutation(len(distinct))
        held_questions = [distinct[i] for i in order[: max(1, round(config.eval_fraction * len(distinct)))]]
        held = [row for question in held_questions for row in found if row.question.strip() == question]
    else:
        held, _ = read_rows(config.heldout, on_bad_row=skip)
        held_questions = [row.question.strip() for row in held]
    trained = [row for row in found if row.question.strip() not in held_questions]
    end = config.eval_limit
    if end is not None and end < len(held):
        while end < len(held) and held[end].question == held[end - 1].question:
            end += 1
        held = held[:end]
    if config.control == "shuffled_labels":
        known = [label for row in trained for label in row.labels if label is not None]
        order = np.random.default_rng([config.seed, 0xC0]).permutation(len(known))
        mixed = iter([known[i] for i in order])
        trained = [
            StepRow(
                row.question,
                row.steps,
                tuple(None if label is None else next(mixed) for label in row.labels),
                row.source,
                row.id,
            )
            for row in trained
        ]
    encoded, held_encoded = cut_by_hand(config, trained), cut_by_hand(config, held)
    options: dict[str, Any] = {
        "epochs": config.epochs,
        "batch_tokens": config.batch_tokens,
        "batch_solutions": config.batch_solutions,
        "seed": config.seed,
    }
    if config.is_pairwise:
        encoded = in_pairs(encoded, "training")
        plan = plan_in_pairs(encoded, **options)
    elif config.group_by == "question":
        plan = plan_by_question(
            [row.ids for row in encoded.rows],
            encoded.questions,
            question_solutions=config.question_solutions,
            **options,
        )
    else:
        plan = make_plan(encoded.lengths, **options)
    assert config.max_steps is not None
    return encoded, held_encoded, plan[: config.max_steps * config.accumulation]


def cut_by_hand(config: TrainPrmConfig, rows: list[StepRow]) -> EncodedRows:
    tokenizer = load_tokenizer(config.base)
    contract = resolve(tokenizer, Template(**config.template.model_dump()))
    encoded, steps_cut, rows_cut, too_long, unlabelled = [], 0, 0, 0, 0
    solutions = encode(tokenizer, contract, [(row.question, row.steps) for row in rows])
    for row, solution in zip(rows, solutions, strict=True):
        said: list[float | None] = list(row.labels)
        if config.head == "outcome":
            *before, last = row.labels
            if last is not None and config.outcome.label == "all":
                last = min([last, *(each for each in before if each is not None)])
            said = [*(None for _ in before), last]
        labels = np.array([np.nan if each is None else each for each in said], dtype=np.float32)
        if not np.isfinite(labels).any():
            unlabelled += 1
            continue
        fit = int(np.searchsorted(solution.tags, config.max_length))
        if fit < len(labels):
            steps_cut += len(labels) - fit
            rows_cut += 1
        known = np.flatnonzero(np.isfinite(labels[:fit]))
        if not len(known):
            too_long += 1
            continue
        keep = int(known[-1]) + 1
        tags = solution.tags[:keep]
        encoded.append(EncodedRow(solution.ids[: tags[-1] + 1], tags, labels[:keep], row))
    return EncodedRows(encoded, steps_cut, rows_cut, too_long, unlabelled)


def seen(rows: EncodedRows) -> list[Any]:
    """All there is to see of encoded rows."""
    of_each = [
        (row.ids.tolist(), row.tags.tolist(), np.nan_to_num(row.labels, nan=-1).tolist(), row.row)
        for row in rows.rows
    ]
    numbers: dict[str, int] = {}
    questions = [numbers.setdefault(row.row.question, len(numbers)) for row in rows.rows]
    assert rows.questions.tolist() == questions
    assert rows.lengths.tolist() == [len(row.ids) for row in rows.rows]
    assert rows.flat.supervised.tolist() == [int(np.isfinite(row.labels).sum()) for row in rows.rows]
    written = [text_length(row.row.question, row.row.steps[: len(row.labels)]) for row in rows.rows]
    assert rows.flat.text_lengths.tolist() == written
    return [of_each, rows.counts(), text_lengths(rows), plan_digest(rows, [])]


def all_of(prepared: Prepared) -> list[Any]:
    """All that a training takes from what was prepared, and what its log says."""
    plan = [batch.tolist() for batch in prepared.plan]
    return [
        seen(prepared.train),
        seen(prepared.heldout),
        plan,
        plan_digest(prepared.train, prepared.plan),
        prepared.counts(),
        list(prepared.lines()),
    ]


def kept() -> set[str]:
    return {each.address for each in columns.listed()}


# --- every setting -----------------------------------------------------------------------------

SAME: dict[str, Any] = {
    "another length": {"max_length": 50},
    "no length": {"max_length": 4000},
    "another split": {"seed": 3},
    "more held out": {"eval_fraction": 0.5},
    "all held-out rows": {"eval_limit": None},
    "one held-out row": {"eval_limit": 1},
    "shuffled labels": {"control": "shuffled_labels"},
    "an outcome head": {"head": "outcome", "loss": "pair"},
    "every step of an outcome": {"head": "outcome", "loss": "pair", "outcome": {"label": "all"}},
    "pairs": {"head": "outcome", "loss": "pair", "outcome": {"loss": "pairwise"}, "eval_fraction": 0.5},
    "a classifier": {"head": "classifier", "loss": "pair"},
    "contamination allowed": {"drop_contaminated": False, "allow_contamination": True},
    "other label words": {"template": {"good": "-", "bad": "+"}},
    "questions together": {"group_by": "question", "batch_tokens": 300},
    "a few of each question": {"group_by": "question", "question_solutions": 2, "batch_tokens": 300},
    "batches": {"batch_tokens": 300, "batch_solutions": 3, "accumulation": 2, "epochs": 1.5},
}
"""Settings under which the kept columns serve as they are."""

OTHER: dict[str, tuple[Any, set[str]]] = {
    "a limit": ({"limit": 50}, {"rows", "tokens"}),
    "no repeats": ({"dedup": True}, {"rows", "tokens"}),
    "strict": ({"on_bad_row": "error"}, {"rows", "tokens"}),
    "neutral steps": ({"prm800k_neutral": "bad"}, {"rows", "tokens"}),
    "another tag": ({"template": {"tag": "§"}}, {"tokens"}),
}
"""Settings under which some columns are made anew, and which."""

ELSEWHERE = {"base", "data", "heldout", "evaluation_problems", "store"}
"""Keys with tests of their own below."""

NO_MATTER = {
    "shape", "quantization", "dtype", "device", "trust_remote_code", "lora", "gradient_checkpointing",
    "head_learning_rate", "class_weighting", "max_steps", "eval_every", "early_stopping",
    "checkpoint_every", "keep_checkpoints", "threads", "tensorboard", "optimizer", "learning_rate",
    "weight_decay", "warmup_ratio", "scheduler", "max_grad_norm", "pass_tokens",
}  # fmt: skip
"""Keys that `prepare` does not look at, or that only cut its plan short."""


def test_every_key_of_the_config_is_accounted_for() -> None:
    changed = {key for change in SAME.values() for key in change}
    changed |= {key for change, _ in OTHER.values() for key in change}
    assert changed | ELSEWHERE | NO_MATTER == set(TrainPrmConfig.model_fields)
    assert not (changed | ELSEWHERE) & NO_MATTER


@pytest.mark.parametrize("name", SAME)
def test_other_settings_are_arithmetic_on_the_same_columns(config: TrainPrmConfig, name: str) -> None:
    prepare(config)
    before = kept()
    changed = with_(config, **SAME[name])
    found = prepare(changed)
    assert kept() == before
    assert all_of(found) == all_of(prepare(with_(changed, store=False)))
    encoded, held, plan = by_hand(changed)
    assert seen(found.train) == seen(encoded)
    assert seen(found.heldout) == seen(held)
    assert [batch.tolist() for batch in found.plan] == [batch.tolist() for batch in plan]
    assert plan_digest(found.train, found.plan) == plan_digest(encoded, plan)


@pytest.mark.parametrize("name", OTHER)
def test_what_decides_a_column_makes_it_anew(config: TrainPrmConfig, two_tags: str, name: str) -> None:
    config = with_(config, base=two_tags)
    prepare(config)
    before = kept()
    change, made = OTHER[name]
    changed = with_(config, **change)
    cold = all_of(prepare(changed))
    assert {address.partition("-")[0] for address in kept() - before} == made
    now = kept()
    assert all_of(prepare(changed)) == cold == all_of(prepare(with_(changed, store=False)))
    assert kept() == now
    encoded, held, _ = by_hand(changed)
    assert cold[0] == seen(encoded)
    assert cold[1] == seen(held)


def test_the_data_counts_by_its_content(config: TrainPrmConfig, tmp_path: Path) -> None:
    first = prepare(config)
    before = kept()
    moved = tmp_path / "elsewhere" / "other name.jsonl"
    moved.parent.mkdir()
    shutil.copyfile(config.data, moved)
    again = prepare(with_(config, data=str(moved)))
    assert kept() == before
    assert again.counts() == first.counts()
    assert next(again.lines()).startswith(f"{moved}: 249 rows read")  # what a file is called is no part of it

    packed_file = tmp_path / "rows.jsonl.gz"
    packed_file.write_bytes(gzip.compress(moved.read_bytes()))
    assert prepare(with_(config, data=str(packed_file))).counts() == first.counts()
    one_letter = moved.read_text().replace("How many", "how many", 1)
    moved.write_text(one_letter)
    found = prepare(with_(config, data=str(moved)))
    assert plan_digest(found.train, found.plan) != plan_digest(first.train, first.plan)
    assert len(kept()) == 3 * len(before) == 6


def test_a_held_out_file_is_kept_as_well(config: TrainPrmConfig, tiny: Any, tmp_path: Path) -> None:
    held = tiny.write_rows(tmp_path / "held.jsonl", tiny.make_rows(40, seed=5))
    changed = with_(config, heldout=str(held), eval_fraction=0.0, eval_limit=9)
    cold = all_of(prepare(changed))
    assert len(kept()) == 4
    assert all_of(prepare(changed)) == cold == all_of(prepare(with_(changed, store=False)))
    encoded, held_encoded, _ = by_hand(changed)
    assert cold[:2] == [seen(encoded), seen(held_encoded)]


def test_evaluation_problems_are_compared_every_time(config: TrainPrmConfig) -> None:
    first = prepare(config)
    assert first.contamination.contaminated
    before = kept()
    assert config.evaluation_problems is not None
    Path(config.evaluation_problems[0]).write_text('{"id": "1", "question": "Who?", "answer": "6"}\n')
    second = prepare(config)
    assert kept() == before
    assert not second.contamination.contaminated
    assert len(second.train.rows) + len(second.heldout.rows) > 0
    assert second.counts() != first.counts()
    refused = with_(config, drop_contaminated=False)
    Path(config.evaluation_problems[0]).write_text(json.dumps({"id": "1", "question": EVALUATION}) + "\n")
    with pytest.raises(ShepherdError, match="drop_contaminated=true"):
        prepare(refused)


def test_another_tokenizer_has_other_tokens_of_the_same_rows(
    config: TrainPrmConfig, tiny: Any, tiny_base: Path, tmp_path: Path
) -> None:
    first = prepare(config)
    before = kept()
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    prepare(with_(config, base=str(copy)))
    assert kept() == before  # a tokenizer is what it does, not where it lies
    tiny.make_tokenizer(unseen="apples").save_pretrained(copy)
    other = prepare(with_(config, base=str(copy)))
    assert {address.partition("-")[0] for address in kept() - before} == {"tokens"}
    assert other.train.tokens != first.train.tokens
    assert all_of(other) == all_of(prepare(with_(config, base=str(copy), store=False)))


def test_a_tokenizer_that_no_fingerprint_of_a_sample_tells_apart(tiny: Any, tmp_path: Path) -> None:
    """The same vocabulary and the same sample, but another merge: the whole description differs."""
    tokenizer = tiny.make_tokenizer()
    known = tokenizer_identity(tokenizer)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"].append(["z", "w"])
    state["model"]["vocab"]["zw"] = len(tokenizer)
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    changed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>"
    )
    assert known is not None
    assert tokenizer_identity(changed) != known
    assert tokenizer_identity(tiny.make_tokenizer()) == known


def test_without_the_store_nothing_is_read_or_kept(
    config: TrainPrmConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(with_(config, store=False))
    assert kept() == set()
    prepare(config)
    capsys.readouterr()
    prepare(with_(config, store=False))
    assert "store" not in capsys.readouterr().err
    prepare(config)
    assert capsys.readouterr().err == f"249 rows of {config.data} and their tokens from the store\n"


def test_little_files_and_standard_input_are_not_kept(
    config: TrainPrmConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpora, "KEPT_BYTES", 1 << 20)
    first = prepare(config)
    assert kept() == set()
    monkeypatch.setattr(corpora, "KEPT_BYTES", 1)
    with Path(config.data).open() as handle:
        monkeypatch.setattr(sys, "stdin", handle)
        found = prepare(with_(config, data="-"))
    assert kept() == set()
    assert seen(found.train) == seen(first.train)


# --- damage, kills, two at once -----------------------------------------------------------------


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": _flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0" * 8),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("which", [("rows", "texts"), ("rows", "about"), ("rows", "manifest"),
                                   ("rows", "labels"), ("tokens", "ids"), ("tokens", "ends")])  # fmt: skip
def test_what_is_damaged_is_told_and_made_anew(
    config: TrainPrmConfig, own_store: Path, capsys: pytest.CaptureFixture[str], which: Any, how: str
) -> None:
    good = all_of(prepare(config))
    kind, name = which
    (place,) = (own_store / "columns").glob(f"{kind}-*")
    whole = {file.name: file.read_bytes() for file in place.iterdir()}
    DAMAGE[how](place / name)
    assert [fault for fault in columns.faults().values() if fault] != []
    capsys.readouterr()
    assert all_of(prepare(config)) == good
    assert f"store: {place}: dropped and made anew: " in capsys.readouterr().err
    again = {file.name: file.read_bytes() for file in place.iterdir()}
    assert {each: again[each] for each in again if each != "manifest"} == {
        each: whole[each] for each in whole if each != "manifest"
    }
    assert not any(columns.faults().values())


def test_columns_of_another_key_are_not_taken(config: TrainPrmConfig, two_tags: str, own_store: Path) -> None:
    config = with_(config, base=two_tags)
    good = all_of(prepare(config))
    (mine,) = (own_store / "columns").glob("tokens-*")
    other = with_(config, template={"tag": "§"})
    theirs = all_of(prepare(other))
    (foreign,) = set((own_store / "columns").glob("tokens-*")) - {mine}
    shutil.rmtree(mine)
    shutil.copytree(foreign, mine)
    assert all_of(prepare(config)) == good
    (mine / "manifest").write_text("{}")  # and not a manifest of some other program
    assert all_of(prepare(config)) == good
    assert all_of(prepare(other)) == theirs


def test_a_disk_that_refuses_costs_the_store_and_nothing_else(
    config: TrainPrmConfig,
    own_store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = all_of(prepare(with_(config, store=False)))
    own_store.write_text("a file where the folder should be")
    assert all_of(prepare(config)) == good
    said = capsys.readouterr().err
    assert said.count("going on without the store") == 2
    assert "Traceback" not in said
    own_store.unlink()

    add = columns.Writer.add

    def full(self: columns.Writer, name: str, values: Any) -> None:
        if name == "ids" and len(values) and self._folder is not None:
            raise columns.StoreError(f"{self._folder}: No space left on device")
        add(self, name, values)

    monkeypatch.setattr(columns.Writer, "add", full)
    assert all_of(prepare(config)) == good
    assert [path.name.partition("-")[0] for path in (own_store / "columns").iterdir()] == ["rows"]


_PREPARE = """
import sys
from verifier.batches import plan_digest
from verifier.config import TrainPrmConfig
from verifier.data import corpus, tokens
from verifier.prepare import prepare

corpus.KEPT_BYTES = 1
if sys.argv[2] == "slowly":
    import time
    tokens._PIECE = 16
    encode = tokens.encode
    def slow(*arguments):
        print("piece", flush=True)
        time.sleep(0.3)
        return encode(*arguments)
    tokens.encode = slow
found = prepare(TrainPrmConfig.model_validate_json(sys.argv[1]))
print(plan_digest(found.train, found.plan))
"""


def _start(config: TrainPrmConfig, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _PREPARE, config.model_dump_json(), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_both_end_well(config: TrainPrmConfig, own_store: Path) -> None:
    found = prepare(with_(config, store=False))
    running = [_start(config, "now") for _ in range(2)]
    for process in running:
        said, complained = process.communicate(timeout=240)
        assert process.returncode == 0, complained
        assert said.split()[-1] == plan_digest(found.train, found.plan)
    assert sorted(each.kind for each in columns.listed()) == ["rows", "tokens"]
    assert len(list((own_store / "columns").iterdir())) == 2  # nothing half-written is left
    assert all_of(prepare(config)) == all_of(found)


def test_a_kill_leaves_nothing_that_counts_and_the_rest_is_swept(
    config: TrainPrmConfig, own_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = _start(config, "slowly")
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "piece\n"
    (half,) = (own_store / "columns").glob("tokens-*.partial")
    monkeypatch.setattr(columns, "_YOUNG_S", 0.0)
    columns._sweep(half.parent)
    assert half.is_dir()  # a living process holds its lock
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert [each.kind for each in columns.listed()] == ["rows"]
    good = all_of(prepare(with_(config, store=False)))
    assert all_of(prepare(config)) == good
    assert not half.exists()
    assert sorted(each.kind for each in columns.listed()) == ["rows", "tokens"]


def test_columns_that_are_removed_stay_with_whom_has_them(config: TrainPrmConfig) -> None:
    found = prepare(config)
    before = all_of(found)
    columns.remove([each.address for each in columns.listed()])
    assert kept() == set()
    assert all_of(found) == before


def test_a_training_resumes_from_the_store_to_the_same_bytes(
    tiny: Any, config: TrainPrmConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifier.training import Trainer

    whole = train(with_(config, store=False), tiny.FakeRun(tmp_path / "whole"))
    run_step = Trainer._step

    def die(self: Trainer, number: int) -> dict[str, Any]:
        if number == 3:
            raise KeyboardInterrupt
        return run_step(self, number)

    monkeypatch.setattr(Trainer, "_step", die)
    with pytest.raises(KeyboardInterrupt):
        train(config, tiny.FakeRun(tmp_path / "stopped"))
    monkeypatch.setattr(Trainer, "_step", run_step)
    monkeypatch.setattr(corpora, "iter_rows", lambda *_, **__: pytest.fail("read again"))
    monkeypatch.setattr(tokenised, "encode", lambda *_: pytest.fail("tokenised again"))
    run = tiny.FakeRun(tmp_path / "stopped")
    again = train(config, run)
    assert "resumed at step 2 of 4" in run.logged
    files = {path.relative_to(whole.folder) for path in whole.folder.rglob("*") if path.is_file()}
    for file in files:
        assert (again.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file
    assert again.counts == whole.counts
    assert again.metrics == whole.metrics


# --- texts --------------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_categories=()), min_size=1, max_size=30)  # half surrogates as well


@given(
    st.lists(
        st.tuples(
            _text,
            st.lists(st.tuples(_text, st.none() | st.floats(0, 1)), max_size=4),
            _text,
        ),
        max_size=6,
    )
)
def test_any_text_comes_back_as_it_was(drawn: Any) -> None:
    rows = [
        StepRow(
            question, tuple(text for text, _ in steps), tuple(label for _, label in steps), source, source
        )
        for question, steps, source in drawn
    ]
    corpus = corpus_of(rows)
    assert [corpus.row(index) for index in range(len(corpus))] == rows
    assert corpus.steps.tolist() == [len(row.steps) for row in rows]
    lengths = [
        text_length(row.question, row.steps[: end + 1]) for row in rows for end in range(len(row.steps))
    ]
    assert corpus.characters.tolist() == lengths


def test_lines_of_a_megabyte_and_hostile_text_are_kept_whole(tmp_path: Path) -> None:
    texts = ("x" * (1 << 20), '\x00\x1b[31m\r\n\t"\\', "\ud800 half", "\u2028\u2029\x85", "{}[],:", "🙂 ½")
    rows = [StepRow(f"{text} {n}?", (f"Step 1: {text}", "b"), (1.0, None)) for n, text in enumerate(texts)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    expected, counts = read_rows(str(path))
    cold = read_corpus(str(path))
    warm = read_corpus(str(path))
    assert (cold.is_kept, warm.is_kept) == (False, True)
    for corpus in (cold, warm):
        assert [corpus.row(index) for index in range(len(corpus))] == expected
        assert corpus.counts == counts
    (listed,) = columns.listed()
    assert (listed.kind, listed.model, listed.rows, listed.questions) == ("rows", "rows.jsonl", 6, 6)
    assert listed.size_bytes > 2 << 20


def test_oddities_and_skipped_rows_are_told_the_same_from_the_store(tmp_path: Path) -> None:
    good = {"input": "2 + 2? Step 1: 2 + 2 = 4 ки\nStep 2: So 5 ки",
            "label": "2 + 2? Step 1: 2 + 2 = 4 +\nStep 2: So 5 -", "task": "GSM8K"}  # fmt: skip
    short = {**good, "label": "2 + 2? Step 1: 2 + 2 = 4 +"}
    lower = {key: value.replace("Step 1", "step 1") for key, value in good.items()}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, short, lower, good)))
    cold, warm = (read_corpus(str(path), on_bad_row="skip", dedup=True) for _ in range(2))
    assert warm.is_kept
    assert cold.counts == warm.counts == read_rows(str(path), on_bad_row="skip", dedup=True)[1]
    assert (warm.counts.kept, warm.counts.duplicates, len(warm.counts.skipped)) == (2, 1, 1)
    with pytest.raises(ShepherdError, match=r"rows.jsonl:2: .*labels_end_early"):
        read_corpus(str(path), dedup=True)
    assert len(columns.listed()) == 1  # what was refused is not kept


def test_rows_at_hand_and_flat_rows_are_the_same(config: TrainPrmConfig) -> None:
    found = prepare(config).train
    again = flatten(list(found.rows))
    assert again is not found.rows
    assert seen(EncodedRows(again, 0, 0, 0, 0))[0] == seen(found)[0]
    which = np.array([3, 0, 3])
    assert [row.row.id for row in again.take(which)] == [found.rows[int(i)].row.id for i in which]
    assert [row.row.id for row in found.rows[1:3]] == [found.rows[1].row.id, found.rows[2].row.id]
    assert found.rows[-1].row == again[len(again) - 1].row


def test_the_age_of_what_is_kept_is_the_time_it_was_made(config: TrainPrmConfig) -> None:
    prepare(config)
    for each in columns.listed():
        assert abs(time.time() - each.created) < 120
        folder = Path(os.environ["SHEPHERD_STORE"]) / "columns" / each.address
        assert each.size_bytes == sum(file.stat().st_size for file in folder.iterdir())
