"""`shepherd dpo-loop` as a user runs it: rounds, what they leave, resume to the same bytes, errors."""

from __future__ import annotations

import csv
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from generation.pairs.files import read_pairs
from generation.pairs.union import read_union
from shepherd.assets import asset
from shepherd.cli import cli
from shepherd.files import read_jsonl, sha256_file, write_jsonl

Loop = Callable[..., Result]
KEYS = (
    "rounds=2", "problems_a_round=24", "n=4", "sampling.temperature=1.3", "update.steps=4",
    "update.batch_size=4", "update.lora.rank=4", "update.checkpoint_every=1", "pairs.margin=0.1",
    "measure.validation.limit=16", "measure.test.limit=20", "measure.n=3", "measure.temperatures=[0.5,1.0]",
    "measure.bootstrap=200", "store=false",
)  # fmt: skip


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["dpo-loop", *arguments])


def loop(*arguments: str) -> Result:
    """A loop of two rounds on a few problems; later options win."""
    return invoke(*(part for key in KEYS for part in ("--set", key)), *arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished loop."""
    folder = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = loop("--out", "whole")
    assert done.exit_code == 0, done.output
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_it_leaves_what_it_says(whole: Path) -> None:
    out = whole / "whole"
    names = {path.name for path in out.iterdir()}
    assert {"rounds.jsonl", "rounds.csv", "rounds.png", "union.jsonl", "results.json", "DONE"} <= names
    assert {path.name for path in (out / "adapters").iterdir()} == {"round-1", "round-2"}
    result = json.loads((out / "results.json").read_text())
    assert [each["round"] for each in result["rounds"]] == [0, 1, 2]
    first, one, two = result["rounds"]
    assert first["reference"] == "" and one["reference"] == two["reference"] == first["policy"]
    assert len({each["policy"] for each in result["rounds"]}) == 3
    assert first["watched"]["probe_loss"] == pytest.approx(0.6931471805599453)
    assert first["watched"]["kl"] == pytest.approx(0, abs=1e-6)
    assert two["watched"]["kl"] > 1e-6
    assert two["watched"]["probe_loss"] != pytest.approx(0.6931471805599453, abs=1e-4)
    assert "test" in (whole / "stdout.txt").read_text()
    assert result["temperature"] in (0.5, 1.0)
    assert set(result["test"]["differences"]) == {"greedy", "sampled", "majority", "best_of_n"}


def test_the_union_is_the_pairs_of_both_rounds_each_once(whole: Path) -> None:
    out = whole / "whole"
    mine = [read_pairs(out / "pairs" / f"round-{number}.jsonl") for number in (1, 2)]
    union = read_union(out / "union.jsonl")
    keys = [pair.key for pairs in mine for pair in pairs]
    assert [pair.key for pair in union.pairs] == list(dict.fromkeys(keys))
    two = json.loads((out / "results.json").read_text())["rounds"][2]
    assert (two["union"], two["union_hash"]) == (len(union.pairs), union.hash)
    assert {pair.round for pair in union.pairs} == {1, 2}
    considered = sum(two["dropped"].values()) + two["pairs"]
    assert considered == 24 * 6  # every two of four candidates, of each problem
    dropped = [row for _, row in read_jsonl(out / "pairs" / "round-2.dropped.jsonl")]
    assert len(dropped) == sum(two["dropped"].values())


def test_rounds_roll_out_other_problems_and_the_table_says_so(whole: Path) -> None:
    out = whole / "whole"
    asked = [
        {row["id"] for _, row in read_jsonl(out / "rollouts" / f"round-{number}" / "pool.jsonl")}
        for number in (1, 2)
    ]
    assert len(asked[0]) == len(asked[1]) == 24 and not asked[0] & asked[1]
    with (out / "rounds.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["rollouts"] for row in rows] == ["0", "96", "96"]
    assert float(rows[2]["greedy_minus_round_0_low"]) <= float(rows[2]["greedy_minus_round_0"])


def test_a_finished_loop_is_shown_again(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    again = invoke("--resume", "whole", "--json")
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert found["run"] == "whole" and found["best_round"] in (0, 1, 2)


STOPS = {
    "rollouts": ("generation.learn.loop.pairing.score_pool", 2),
    "union": ("generation.learn.loop.pairing.write_union", 2),
    "update": ("generation.learn.dpo.update.load_policy", 2),
    "measuring": ("generation.learn.loop.loop.measure_policy", 3),
    "record": ("generation.learn.loop.loop.append_line", 2),
    "test": ("generation.learn.loop.loop.measure_policy", 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STOPS)
def test_a_stopped_loop_goes_on_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Stopped as the second round comes to a stage (or at the first look at the test problems)."""
    monkeypatch.chdir(tmp_path)
    place, count = STOPS[stage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, _stopping_at(place, count))
        stopped = loop("--out", "whole")
    assert stopped.exit_code == 130, stopped.output
    assert "go on with: shepherd dpo-loop --resume whole" in stopped.stderr
    done = invoke("--resume", "whole")
    assert done.exit_code == 0, done.output
    _same(whole / "whole", tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_within_an_update_goes_on_from_its_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Trainer

    monkeypatch.chdir(tmp_path)
    step, taken = Trainer.training_step, []

    def counted(self: Trainer, *arguments: object, **more: object) -> object:
        taken.append(1)
        if len(taken) == 7:  # the third step of the second round
            raise KeyboardInterrupt
        return step(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "training_step", counted)
        assert loop("--out", "whole").exit_code == 130
    taken.clear()
    monkeypatch.setattr(Trainer, "training_step", counted)
    assert invoke("--resume", "whole").exit_code == 0
    assert len(taken) == 2  # of four steps two were done
    _same(whole / "whole", tmp_path / "whole")


def _stopping_at(place: str, count: int) -> Callable[..., Any]:
    """A function that is interrupted at its ``count``-th call."""
    module, _, name = place.rpartition(".")
    real, calls = getattr(importlib.import_module(module), name), []

    def stopping(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    return stopping


def _same(whole: Path, resumed: Path) -> None:
    """Pairs, union, adapters and candidates to the byte; records but for their timings."""
    made = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    exact = [
        path
        for path in made
        if path.suffix in {".safetensors", ".jsonl", ".csv"}
        and path.name not in {"metrics.jsonl", "rounds.jsonl", "rounds.csv", "steps.jsonl"}
        and "checkpoints" not in path.parts
    ]
    assert Path("adapters/round-2/adapter/adapter_model.safetensors") in exact
    assert Path("pairs/round-2.jsonl") in exact and Path("union.jsonl") in exact
    for each in exact:
        assert (resumed / each).read_bytes() == (whole / each).read_bytes(), each
    assert _plain(resumed / "results.json") == _plain(whole / "results.json")


def _plain(path: Path) -> Any:
    result = json.loads(path.read_text())
    for each in result["rounds"]:
        del each["seconds"]
        each["update"].pop("tokens_per_s", None)
    return result


@pytest.mark.slow
def test_without_dagger_a_round_learns_from_its_own_pairs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = loop("--no-dagger", "--set", "reference=previous", "--merge", "--out", "alone", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    _, one, two = result["rounds"]
    assert two["union"] == two["pairs"] and not result["dagger"]
    assert two["reference"] == one["policy"]
    assert {pair.round for pair in read_union(tmp_path / "alone" / "union.jsonl").pairs} == {2}
    assert (tmp_path / "alone" / "merged").is_dir() == (result["best_round"] > 0)


@pytest.mark.slow
def test_early_stopping_keeps_the_best_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that ruins the policy: the first round is worse, the second is not begun, round 0 is kept."""
    monkeypatch.chdir(tmp_path)
    ruin = ("update.learning_rate=0.05", "update.sft_weight=0", "update.steps=20", "patience=1", "rounds=4")
    done = loop(*(part for key in ruin for part in ("--set", key)), "--out", "ruined", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert [each["round"] for each in result["rounds"]] == [0, 1]
    assert result["stopped_early"] and result["best_round"] == 0 and result["adapter"] is None
    assert "nothing was learnt" in result["answer"]
    assert result["rounds"][1]["alarms"]  # and it was told
    assert not (tmp_path / "ruined" / "adapter").exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("verifier=null",), "verifier: its verdicts are what the loop learns from"),
        (("sampling.temperature=0",), "greedy rollouts are all alike"),
        (("measure.temperatures=[]",), "measure.temperatures"),
        (("engine=server",), "a server's weights do not change"),
        (("dagger=false", "union.decay=0.5"), "without dagger a round learns from its own pairs alone"),
        (("union.weights={1: 0}",), "a round that weighs 0 is rolled out for nothing"),
        (("model=nowhere",), "nowhere: no tokenizer can be loaded"),
        (("update.lora.kind=adalora",), "adalora is for train-prm"),
        (("measure.validation.split=test",), "asks what a validation problem asks"),
        (("adapter=nowhere",), "adapter nowhere: no adapter_config.json"),
        (("verifier=nowhere",), "nowhere"),
        (("engine=vllm",), "needs the extra 'vllm"),
    ],
)
def test_what_cannot_be_is_one_line_and_makes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = loop(*(part for key in keys for part in ("--set", key)))
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_how_much_work_it_is_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = loop("--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["rounds"], found["rollouts"], found["steps"]) == (2, 2 * 24 * 4, 8)
    assert (found["validation_problems"], found["test_problems"]) == (16, 20)
    assert set(found["memory"]) == {"sampling", "scoring", "update"}
    assert not any(tmp_path.iterdir())


@pytest.fixture
def stopped(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished loop as it was before its second round was recorded."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "stopped"
    shutil.copytree(whole / "whole", run)
    (run / "DONE").unlink()
    lines = (run / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run / "rounds.jsonl").write_text("".join(lines[:2]))
    return run


def _edit_a_word(text: str) -> str:
    return text.replace("Step 2", "Step two", 1)


@pytest.mark.parametrize(
    ("file", "edit", "said"),
    [
        ("pairs/round-1.jsonl", _edit_a_word, "round-1.jsonl: has been changed since round 1 made it"),
        ("pairs/round-1.jsonl", lambda text: text.replace("{", "", 1), "round-1.jsonl:1: "),
        (
            "pairs/round-1.jsonl",
            lambda text: text.replace('"rejected"', '"refused"', 1),
            'round-1.jsonl:1: no "rejected" field',
        ),
        ("union.jsonl", _edit_a_word, "union.jsonl: the union has changed since it was learnt from (hash "),
        ("union.jsonl", lambda text: text.replace('"weight": 1.0', '"weight": -1', 1), "union.jsonl:1: "),
    ],
    ids=["pair", "brace", "key", "union", "weight"],
)
def test_an_edited_file_stops_a_resume_in_one_line(
    stopped: Path, file: str, edit: Callable[[str], str], said: str
) -> None:
    text = (stopped / file).read_text()
    assert edit(text) != text
    (stopped / file).write_text(edit(text))
    before = {path: path.read_bytes() for path in stopped.rglob("*.safetensors")}
    done = invoke("--resume", "stopped")
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    (stopped / file).write_text(text)  # put back, and nothing is lost
    done = invoke("--resume", "stopped")
    assert done.exit_code == 0, done.output
    assert {path: path.read_bytes() for path in stopped.rglob("*.safetensors")} == before


def test_threads_count_for_updates_and_watches_too(stopped: Path) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert invoke("--resume", "stopped").exit_code == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_kill_between_the_last_record_and_its_picture_leaves_both(stopped: Path, whole: Path) -> None:
    (stopped / "rounds.jsonl").write_bytes((whole / "whole" / "rounds.jsonl").read_bytes())
    (stopped / "rounds.csv").unlink()
    (stopped / "rounds.png").unlink()
    assert invoke("--resume", "stopped").exit_code == 0
    assert (stopped / "rounds.csv").read_bytes() == (whole / "whole" / "rounds.csv").read_bytes()
    assert (stopped / "rounds.png").stat().st_size > 10_000


def test_counts_that_are_gone_are_told(stopped: Path) -> None:
    (stopped / "pairs" / "round-1.json").unlink()
    done = invoke("--resume", "stopped")
    assert done.exit_code == 1
    assert "round-1.json: is gone, and round 1 was learnt from it" in done.stderr


def test_pairs_edited_together_with_their_count_are_told_by_the_round_that_learnt_from_them(
    stopped: Path,
) -> None:
    file = stopped / "pairs" / "round-1.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    counts = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps({**counts, "sha256": sha256_file(file)}))
    done = invoke("--resume", "stopped")
    assert done.exit_code == 1
    assert "the union of the first 1 rounds has changed since round 1 learnt from it" in done.stderr


def test_a_round_without_pairs_says_why_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = loop("--set", "pairs.margin=1", "--out", "none")
    assert done.exit_code == 1, done.output
    assert "round 1: no pair among 96 candidates of 24 problems; these have none: " in done.stderr
    assert "margin (the scores are too close)" in done.stderr
    assert not (tmp_path / "none" / "adapters").exists()
    assert (tmp_path / "none" / "rollouts" / "round-1" / "scores.jsonl").exists()  # nothing is lost


def test_a_generator_that_never_answers_is_told_with_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = loop("--set", "sampling.max_new_tokens=4", "--out", "mute")
    assert done.exit_code == 1, done.output
    assert "round 1: none of 96 candidates states an answer" in done.stderr


def test_a_verifier_whose_contract_does_not_fit_is_refused_before_a_run_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(asset("verifier"), tmp_path / "other")
    described = tmp_path / "other" / "verifier.json"
    text = described.read_text()
    contract = json.loads(text)["contract"]["fingerprint"]
    described.write_text(text.replace(contract, contract[::-1]))
    done = loop("--verifier", "other", "--out", "run")
    assert done.exit_code == 1, done.output
    assert "the tokenizer is not the one this verifier was trained with" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_no_problem_that_a_file_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ({"id": f"p{at}", "question": f"{at}?", "answer": "1"} for at in range(5))
    write_jsonl(tmp_path / "five.jsonl", rows)
    done = loop("--problems", "five.jsonl", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rollouts"] == 2 * 5 * 4
