"""The store as users meet it: a second run computes nothing, and what one machine made serves another."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import generation.generate
import verifier
from shepherd.cli import cli
from shepherd.entries import digest
from shepherd.store import DATABASE, Store

SMALL = ("--n", "4", "--set", "problems.limit=4", "--set", "chunk=8", "--set", "evaluation.bootstrap=200",
         "--set", "evaluation.subsets=20")  # fmt: skip
SAMPLED = "4 problems, 16 candidates of embedded:weak from the store"
SCORED = "4 problems scored by verifier 227e51b2aa78 from the store"


def shepherd(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def rerank(out: Path, *more: object) -> Result:
    result = shepherd("rerank", *SMALL, "--json", "--out", out, *more)
    assert result.exit_code == 0, result.output
    return result


def outputs(run: Path) -> tuple[bytes, bytes]:
    return (run / "pool.jsonl").read_bytes(), (run / "scores.jsonl").read_bytes()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that computed everything, and the store it left, exported."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHEPHERD_STORE", str(folder / "store"))
        told = rerank(folder / "run").stderr
        assert "from the store" not in told
        assert shepherd("store", "export", folder / "entries.jsonl").exit_code == 0
    return folder / "run", folder / "entries.jsonl"


@pytest.fixture
def entries(first: tuple[Path, Path]) -> Path:
    """The exported entries, imported into this test's own store."""
    result = shepherd("store", "import", first[1])
    assert result.stdout == "8 added, 0 already there, 0 replaced\n"
    return first[1]


@pytest.fixture
def computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(generation.generate, "load_engine", refuse)
    monkeypatch.setattr(verifier, "load_verifier", refuse)


# --- runs ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("entries", "computes_nothing")
def test_a_second_rerank_computes_nothing_and_writes_the_same_bytes(
    first: tuple[Path, Path], tmp_path: Path
) -> None:
    again = rerank(tmp_path / "run", "--set", "evaluation.bootstrap=300")
    assert outputs(tmp_path / "run") == outputs(first[0])
    assert again.stderr.splitlines()[1:] == [SAMPLED, SCORED]
    log = (tmp_path / "run" / "run.log").read_text()
    assert SAMPLED in log
    assert SCORED in log
    rules = json.loads(again.stdout)["rules"]
    assert (
        rules["majority"]["accuracy"]
        == json.loads((first[0] / "results.json").read_text())["rules"]["majority"]["accuracy"]
    )


def test_a_second_rerank_imports_no_torch(entries: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom shepherd.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, "rerank", *SMALL, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
    assert SCORED in done.stderr


@pytest.mark.usefixtures("entries", "computes_nothing")
def test_a_smaller_n_within_the_same_pool_computes_nothing(first: tuple[Path, Path], tmp_path: Path) -> None:
    done = rerank(tmp_path / "run", "--pool", first[0] / "pool.jsonl", "--n", 2)
    assert SCORED in done.stderr
    assert json.loads(done.stdout)["n"] == 2


@pytest.mark.usefixtures("entries", "computes_nothing")
@pytest.mark.parametrize(
    "change",
    ["chunk=4", "sampling.temperature=0.71", "sampling.max_new_tokens=255", "seed=1", "model=embedded:strong",
     "prompt.template='Q: {question}'", "problems.seed=1", "problems.limit=3", "dtype=bfloat16"],
)  # fmt: skip
def test_what_decides_a_candidate_samples_again(tmp_path: Path, change: str) -> None:
    result = shepherd("rerank", *SMALL, "--out", tmp_path / "run", "--no-verifier", "--set", change)
    if change == "problems.limit=3":  # its first chunk is the same, its second is not
        assert "2 problems, 8 candidates of embedded:weak from the store" in result.stderr
    else:
        assert "from the store" not in result.stderr
    assert "a model is loaded" in str(result.exception)


@pytest.mark.usefixtures("entries", "computes_nothing")
def test_another_n_is_another_batch(tmp_path: Path) -> None:
    result = shepherd("rerank", *SMALL, "--n", 2, "--out", tmp_path / "run", "--no-verifier")
    assert "from the store" not in result.stderr
    assert "a model is loaded" in str(result.exception)


@pytest.mark.usefixtures("entries", "computes_nothing")
@pytest.mark.parametrize("change", ["batch_tokens=4096", "threads=2"])
def test_what_decides_a_score_scores_again(tmp_path: Path, change: str) -> None:
    result = shepherd("rerank", *SMALL, "--out", tmp_path / "run", "--set", change)
    assert SAMPLED in result.stderr
    assert "scored by" not in result.stderr
    assert "a model is loaded" in str(result.exception)


@pytest.mark.usefixtures("entries", "computes_nothing")
@pytest.mark.parametrize("how", [("--no-store",), ("--set", "store=false")])
def test_a_run_can_go_without_the_store(tmp_path: Path, how: tuple[str, ...]) -> None:
    result = shepherd("rerank", *SMALL, "--out", tmp_path / "run", *how)
    assert "from the store" not in result.stderr
    assert "a model is loaded" in str(result.exception)
    assert "store: false" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.usefixtures("entries")
def test_without_the_store_the_bytes_are_the_same(first: tuple[Path, Path], tmp_path: Path) -> None:
    rerank(tmp_path / "run", "--no-store")
    assert outputs(tmp_path / "run") == outputs(first[0])


def test_a_damaged_entry_is_sampled_again_to_the_same_bytes(
    entries: Path, first: tuple[Path, Path], own_store: Path, tmp_path: Path
) -> None:
    with Store(own_store) as store:
        pool = [row for row in store.stored() if row.kind == "pool"]
        store._db.execute("UPDATE entries SET value = x'00' WHERE hash = ?", [pool[0].hash])
    told = rerank(tmp_path / "run").stderr
    assert told.count("is dropped and computed again: its checksum does not fit") == 1
    assert "2 problems, 8 candidates of embedded:weak from the store" in told  # the other chunk
    assert outputs(tmp_path / "run") == outputs(first[0])


def test_a_killed_run_leaves_its_finished_chunks_in_the_store(own_store: Path, tmp_path: Path) -> None:
    common = ["--n", "4", "--set", "problems.limit=40", "--set", "chunk=8"]
    killed, other = tmp_path / "killed", tmp_path / "other"
    command = [sys.executable, "-m", "shepherd", "generate", *common, "--out", str(killed)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    pool = killed / "pool.jsonl"
    while process.poll() is None and (not pool.exists() or pool.read_bytes().count(b"\n") < 5):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = pool.read_bytes()
    done = finished.count(b"\n")
    assert 5 <= done < 40
    result = shepherd("generate", *common, "--out", other)  # not the same run: what it shares is the store
    assert result.exit_code == 0, result.output
    kept = int(result.stderr.splitlines()[1].partition(" problems")[0])
    assert kept >= done - 1  # the chunk under way may not have been told yet
    resumed = shepherd("generate", "--resume", killed)
    assert resumed.exit_code == 0, resumed.output
    assert pool.read_bytes() == (other / "pool.jsonl").read_bytes()
    assert pool.read_bytes().startswith(finished[: finished.rfind(b"\n") + 1])


def test_score_reads_its_scores_back(
    tmp_path: Path, first: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = first[0] / "pool.jsonl"
    a = shepherd("score", pool, "--out", tmp_path / "a", "--json", "--set", "threads=1")
    assert a.exit_code == 0, a.output
    monkeypatch.setattr(verifier, "load_verifier", lambda *_, **__: pytest.fail("a model is loaded"))
    b = shepherd("score", pool, "--out", tmp_path / "b", "--json", "--set", "threads=1")
    assert b.exit_code == 0, b.output
    assert SCORED in b.stderr
    assert (tmp_path / "a" / "scores.jsonl").read_bytes() == (tmp_path / "b" / "scores.jsonl").read_bytes()
    found = [json.loads(each.stdout) for each in (a, b)]
    assert [each["from_store"] for each in found] == [0, 4]
    assert found[0]["mean_step_score"] == found[1]["mean_step_score"]


def test_a_store_that_cannot_be_had_costs_one_line_and_nothing_else(
    first: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SHEPHERD_STORE", str(tmp_path / "file"))
    done = shepherd("score", first[0] / "pool.jsonl", "--set", "limit=1", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("going on without the store\n") == 1


# --- models that cannot be told, and store_as ------------------------------------------------


@pytest.mark.usefixtures("computes_nothing")
def test_store_as_names_a_hub_model_whose_files_are_elsewhere(entries: Path, tmp_path: Path) -> None:
    """Candidates that a GPU machine made of a hub model serve where there is neither GPU nor weights."""
    lines = [json.loads(line) for line in entries.read_text().splitlines()]
    commit, made = "c0ffee", [line for line in lines if line["kind"] == "pool"]
    for line in made:
        line["key"]["plan"]["model"] = {"hub": "org/model", "commit": commit}
        line["key"]["plan"]["engine"] |= {"device": "cuda"}
        line["hash"] = digest([line["kind"], line["key"]])
    shared = write(tmp_path / "shared.jsonl", *made)
    assert shepherd("store", "import", shared).exit_code == 0
    asked = ("generate", *SMALL[:6], "--model", "org/model", "--set", "device=cuda", "--out")
    done = shepherd(*asked, tmp_path / "a", "--set", f"store_as={commit}")
    assert done.exit_code == 0, done.output
    assert "4 problems, 16 candidates of org/model from the store" in done.stderr
    row = json.loads((tmp_path / "a" / "pool.jsonl").read_text().splitlines()[0])
    assert {each["generator"] for each in row["candidates"]} == {"org/model"}
    unknown = shepherd(*asked, tmp_path / "b")
    assert "a model is loaded" in str(unknown.exception)


def test_store_as_of_a_model_that_is_here_is_refused(tmp_path: Path) -> None:
    result = shepherd("generate", *SMALL[:6], "--set", "store_as=mine", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "store_as: 'mine' was given, and embedded:weak is known by its files; remove it" in result.stderr


# --- shepherd store --------------------------------------------------------------------------


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ls_says_what_is_kept(entries: Path, own_store: Path) -> None:
    shown = shepherd("store", "ls").stdout
    assert str(own_store) in shown.splitlines()[0]
    assert shown.count("4 problems, 16 candidates") == 2
    assert [line.split()[1] for line in shown.splitlines() if " s " in line] == ["pool", "scores"]
    assert "embedded (227e51b2aa78)" in shown
    found = json.loads(shepherd("store", "ls", "--json").stdout)["entries"]
    assert {(each["kind"], each["model"]) for each in found} == {
        ("pool", "embedded:weak"), ("scores", "embedded (227e51b2aa78)"),
    }  # fmt: skip
    for each in found:
        assert (each["problems"], each["candidates"]) == (4, 16)
        assert each.keys() == {"kind", "model", "id", "plan", "oldest", "newest", "size_bytes", "problems",
                               "candidates"}  # fmt: skip
    (pool,) = (each for each in found if each["kind"] == "pool")
    assert pool["plan"]["sampling"]["temperature"] == pytest.approx(0.7)
    assert pool["plan"]["engine"]["device"] == "cpu"
    assert set(pool["plan"]["engine"]["versions"]) == {"torch", "transformers", "tokenizers"}


def test_looking_makes_no_store(own_store: Path, tmp_path: Path) -> None:
    assert shepherd("store", "ls").stdout == f"no entries in {own_store}\n"
    assert shepherd("store", "verify").stdout == "0 entries, 0 damaged\n"
    assert shepherd("store", "path").stdout == f"{own_store}\n"
    assert shepherd("store", "prune", "--max-size", "1G").stdout == "0 entries dropped, 0 B\n"
    assert shepherd("store", "export", tmp_path / "none.jsonl").stdout.startswith("0 entries")
    assert not own_store.exists()


def test_an_export_has_the_same_bytes_wherever_it_is_made(
    entries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shepherd("store", "export", tmp_path / "again.jsonl").exit_code == 0
    assert (tmp_path / "again.jsonl").read_bytes() == entries.read_bytes()
    hashes = [(row["kind"], row["hash"]) for row in map(json.loads, entries.read_text().splitlines())]
    assert hashes == sorted(hashes)
    for suffix in ("jsonl.gz", "jsonl.xz"):
        assert shepherd("store", "export", tmp_path / f"a.{suffix}").exit_code == 0
        assert shepherd("store", "export", tmp_path / f"b.{suffix}").exit_code == 0
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
        monkeypatch.setenv("SHEPHERD_STORE", str(tmp_path / suffix))
        assert json.loads(shepherd("store", "import", tmp_path / f"a.{suffix}", "--json").stdout) == {
            "added": 8, "already_there": 0, "replaced": 0,
        }  # fmt: skip


@pytest.mark.usefixtures("entries")
def test_filters_choose_what_is_exported(tmp_path: Path) -> None:
    def count(*filters: str) -> int:
        done = shepherd("store", "export", tmp_path / "some.jsonl", "--json", *filters)
        return int(json.loads(done.stdout)["entries"])

    plans = {
        each["kind"]: each["id"] for each in json.loads(shepherd("store", "ls", "--json").stdout)["entries"]
    }
    assert count() == 8
    assert count("--kind", "scores") == 4
    assert count("--model", "WEAK") == 4
    assert count("--model", "strong") == 0
    assert count("--plan", plans["pool"][:5]) == 4
    assert count("--plan", plans["pool"], "--kind", "scores") == 0


def test_an_entry_that_differs_is_refused_unless_it_shall_be_replaced(entries: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in entries.read_text().splitlines()]
    lines[1]["value"]["candidates"][0]["text"] = "another"
    lines[1]["value_sha256"] = digest(lines[1]["value"])
    other = write(tmp_path / "other.jsonl", *lines)
    refused = shepherd("store", "import", other)
    assert refused.exit_code == 1
    assert f"{other}:2: entry {lines[1]['hash'][:12]} (pool of embedded:weak) differs" in refused.stderr
    assert shepherd("store", "import", entries).stdout == "0 added, 8 already there, 0 replaced\n"
    assert shepherd("store", "import", other, "--replace").stdout == "0 added, 7 already there, 1 replaced\n"
    assert shepherd("store", "import", other).stdout == "0 added, 8 already there, 0 replaced\n"


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[str], str]:
    def edit(line: str) -> str:
        row = json.loads(line)
        change(row)
        return json.dumps(row)

    return edit


def rehashed(change: Callable[[dict[str, object]], object]) -> Callable[[str], str]:
    """A line whose hashes fit what it says: made by hand."""

    def both(row: dict[str, object]) -> None:
        change(row)
        row["hash"] = digest([row["kind"], row["key"]])
        row["value_sha256"] = digest(row["value"])

    return edited(both)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited(lambda row: row.update(hash="0" * 64)), "key and value do not fit their hashes"),
        (edited(lambda row: row["value"]["candidates"].pop()), "key and value do not fit their hashes"),
        (edited(lambda row: row["key"].update(at=7)), "key and value do not fit their hashes"),
        (edited(lambda row: row.update(kind="../pool")), "\"kind\" is '../pool'; known are: pool, scores"),
        (edited(lambda row: row.update(kind=["pool"])), "\"kind\" is ['pool']"),
        (edited(lambda row: row.update(key=None)), '"key" is no key of the store'),
        (edited(lambda row: row.update(value=[1])), '"value" must be an object'),
        (edited(lambda row: row.pop("value_sha256")), 'no "value_sha256" field'),
        (edited(lambda row: row.update(schema_version=2)), "schema_version 2 is newer than the 1"),
        (edited(lambda row: row["value"].update(x=float("nan"))), "what JSON does not have"),
        (edited(lambda row: row["value"].update(x=json.loads("[" * 900 + "]" * 900))), "JSON does not have"),
        (rehashed(lambda row: row["value"]["candidates"].pop()), '"candidates" must be a list of 4'),
        (rehashed(lambda row: row["value"].update(candidates=[{}] * 4)), 'no "text" field in candidates[0]'),
        (rehashed(lambda row: row.update(kind="scores")), 'no "step_scores" field'),
        (lambda line: line.replace('"text"', '"te\x00xt"', 1), "broken JSON: Invalid control character"),
        (lambda line: line[: len(line) // 2], "broken JSON"),
        (lambda _: "\x00" * 40, "broken JSON"),
        (lambda _: '{"kind": "' + "x" * 2_000_000, "a line of more than 1,000,000 bytes"),
        (lambda _: "[" * 100_000, "cannot be read"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_line_and_nothing_of_it_is_kept(
    first: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[str], str],
    said: str,
) -> None:
    monkeypatch.setattr("shepherd.store_exchange.MAX_LINE_BYTES", 1_000_000)
    lines = first[1].read_text().splitlines()
    path = tmp_path / "hostile.jsonl"
    path.write_text("\n".join([lines[0], edit(lines[1]), *lines[2:]]) + "\n")
    result = shepherd("store", "import", path)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {path}:2: ")
    assert said in result.stderr
    assert shepherd("store", "ls").stdout.startswith("no entries")


def test_a_cut_and_a_missing_file_are_one_line(entries: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(entries.read_bytes())[:-200])
    assert "damaged or cut short" in shepherd("store", "import", cut).stderr
    assert "none.jsonl: No such file" in shepherd("store", "import", tmp_path / "none.jsonl").stderr


def test_verify_names_what_is_damaged_and_drops_it(entries: Path, own_store: Path, tmp_path: Path) -> None:
    assert shepherd("store", "verify").stdout == "8 entries, 0 damaged\n"
    with Store(own_store) as store:
        address = next(store.stored()).hash
        store._db.execute("UPDATE entries SET value = x'00' WHERE hash = ?", [address])
    found = shepherd("store", "verify")
    assert found.exit_code == 1
    assert f"entry {address[:12]}: its checksum does not fit\n8 entries, 1 damaged" in found.stdout
    refused = shepherd("store", "export", tmp_path / "some.jsonl")
    assert "drop it with: shepherd store verify --drop" in refused.stderr
    assert not (tmp_path / "some.jsonl").exists()
    assert "damaged" in shepherd("store", "ls").stdout
    assert shepherd("store", "verify", "--drop").stdout.endswith("8 entries, 1 damaged and dropped\n")
    assert shepherd("store", "verify").stdout == "7 entries, 0 damaged\n"
    assert shepherd("store", "import", entries).stdout == "1 added, 7 already there, 0 replaced\n"


def test_an_import_mends_a_damaged_entry(entries: Path, own_store: Path) -> None:
    with Store(own_store) as store:
        store._db.execute("UPDATE entries SET value = x'00' WHERE kind = 'scores'")
    assert shepherd("store", "import", entries).stdout == "4 added, 4 already there, 0 replaced\n"
    assert shepherd("store", "verify").stdout == "8 entries, 0 damaged\n"


def test_a_file_that_is_no_store_is_one_line(own_store: Path) -> None:
    own_store.mkdir()
    (own_store / DATABASE).write_bytes(b"x" * 5000)
    for command in (["ls"], ["verify"], ["prune", "--max-size", "1"]):
        result = shepherd("store", *command)
        assert result.exit_code == 1
        assert "file is not a database; remove the file" in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("entries")
def test_prune_drops_the_oldest_first(own_store: Path) -> None:
    with Store(own_store) as store:
        ages = store.ages()
        for index, age in enumerate(ages):
            created = time.time() - 86400 * (len(ages) - index)  # 8, 7, … 1 days old
            store._db.execute("UPDATE entries SET created = ? WHERE hash = ?", [created, age.hash])
    done = json.loads(shepherd("store", "prune", "--older-than", "5.5d", "--json").stdout)
    assert done == {"dropped": 3, "bytes": sum(age.size_bytes for age in ages[:3])}
    two = sum(age.size_bytes for age in ages[-2:])
    assert shepherd("store", "prune", "--max-size", f"{two}B").stdout.startswith("3 entries dropped")
    with Store(own_store) as store:
        assert [age.hash for age in store.ages()] == [age.hash for age in ages[-2:]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what may go"),
        (["--older-than", "soon"], "--older-than soon: expected a number and one of m, h, d, w, as in 30d"),
        (["--older-than", "30"], "--older-than 30: expected"),
        (["--max-size", "2 lots"], "--max-size 2 lots: expected a number and one of K, M, G, T, as in 2G"),
    ],
)
def test_prune_refuses_what_it_does_not_understand(arguments: list[str], said: str) -> None:
    result = shepherd("store", "prune", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
