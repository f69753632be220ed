"""`shepherd export`, and the exports and published verifiers that `shepherd score` and `rerank` read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from shepherd.cli import cli

QUESTION = (
    "--question",
    "Tom has 1 apples. How many?",
    "--solution",
    "Step 1: 1 + 1 = 2. ки\nStep 2: so 2 ки",
)


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def _refused(done: Result, *said: str) -> None:
    assert done.exit_code == 1, done.output
    line = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    assert len(line) == 1
    for each in said:
        assert each in line[0]


@pytest.fixture(scope="module")
def exported(tiny_verifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    done = _run("export", tiny_verifier, "--out", out, "--dtype", "float32", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["kind"] == "verifier"
    assert found["steps_compared"] == 52
    assert 0 < found["largest_difference"] < 0.5
    return out


def test_an_export_scores_and_reranks_like_any_verifier(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _run("score", "--verifier", exported, *QUESTION, "--json")
    assert done.exit_code == 0, done.output
    one = json.loads(done.stdout)
    assert len(one["steps"]) == 2
    keys = ("--set", "problems.limit=2", "--set", "evaluation.bootstrap=100", "--n", "2")
    done = _run("rerank", "--pool", "embedded", "--verifier", exported, *keys, "--out", "run", "--json")
    assert done.exit_code == 0, done.output
    scores = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert {line["verifier"] for line in scores} == {one["verifier"]}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert str(exported / "verifier.json") in manifest["inputs"]
    assert "trust_remote_code" not in manifest


def test_people_are_told_how_far_it_is(tiny_verifier: Path, tmp_path: Path) -> None:
    done = _run("export", tiny_verifier, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "largest difference of 52 golden step scores from the verifier's own: " in done.stdout
    assert "merging the adapter into" in done.stderr


def test_what_cannot_be_exported_is_told_in_one_line(
    tiny_verifier: Path, tiny_base: Path, exported: Path, tmp_path: Path
) -> None:
    _refused(_run("export", exported, "--out", tmp_path / "out"), "is exported already")
    _refused(_run("export", tmp_path, "--out", tmp_path / "out"), "neither a verifier nor an adapter")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    _refused(
        _run("export", tiny_verifier, "--out", tmp_path / "full"), "is there already; choose another --out"
    )
    _refused(_run("export", tiny_verifier, "--out", tmp_path / "out", "--public"), "--push OWNER/NAME")
    nowhere = ("--base", tmp_path / "nowhere")
    _refused(_run("export", tiny_verifier, "--out", tmp_path / "out", *nowhere), "no base can be loaded")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_generators_adapter_is_exported(tiny_verifier: Path, tmp_path: Path) -> None:
    adapter = shutil.copytree(tiny_verifier / "adapter", tmp_path / "run" / "adapter")
    done = _run("export", adapter.parent, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "with its adapter merged in (float32)" in done.stdout
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


class _Hub:
    """What is asked of the hub."""

    asked: list[tuple[str, dict[str, Any]]]
    fails: Exception | None = None

    def create_repo(self, repository: str, **given: Any) -> None:
        if self.fails is not None:
            raise self.fails
        type(self).asked.append((repository, given))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        files = sorted(path.name for path in folder_path.iterdir())
        type(self).asked.append((repo_id, {"files": files}))
        return f"https://huggingface.co/{repo_id}/commit/1"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[_Hub]:
    import huggingface_hub

    _Hub.asked, _Hub.fails = [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", _Hub)
    return _Hub


def test_a_push_is_private_unless_it_is_said(tiny_verifier: Path, tmp_path: Path, hub: type[_Hub]) -> None:
    done = _run("export", tiny_verifier, "--out", tmp_path / "one", "--push", "me/prm", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pushed"] == "https://huggingface.co/me/prm/commit/1"
    (_, made), (_, sent) = hub.asked
    assert made == {"private": True, "exist_ok": True}
    assert {"README.md", "config.json", "model.safetensors", "verifier.json", "vllm.json"} <= set(
        sent["files"]
    )
    _run("export", tiny_verifier, "--out", tmp_path / "two", "--push", "me/prm", "--public")
    assert hub.asked[2][1]["private"] is False


def test_a_push_that_fails_leaves_the_export(tiny_verifier: Path, tmp_path: Path, hub: type[_Hub]) -> None:
    hub.fails = httpx.ConnectError("[Errno -2] Name or service not known")
    done = _run("export", tiny_verifier, "--out", tmp_path / "out", "--push", "me/prm")
    _refused(done, "--push me/prm: the hub did not take it", f"the export is whole in {tmp_path / 'out'}")
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_published_verifier_is_scored_by_its_format(
    tiny_base: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(_run("score", "--verifier", tiny_base, *QUESTION), "--set format=NAME: math-shepherd, rlhflow")
    _refused(_run("score", "--verifier", tiny_base, "--set", "format=openr", *QUESTION), "format")
    done = _run("score", "--verifier", tiny_base, "--set", "format=math-shepherd", *QUESTION, "--json")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["steps"]) == 2


def test_trusted_code_is_said_in_the_manifest(tiny_base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    keys = [f"verifier={tiny_base}", "format=math-shepherd", "limit=1", "trust_remote_code=true"]
    done = _run("score", *[part for key in keys for part in ("--set", key)], "--out", "run")
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["trust_remote_code"] is True
    assert str(tiny_base / "config.json") in manifest["inputs"]


def test_without_the_hub_a_hub_name_is_told_in_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = _run("score", "--verifier", "RLHFlow/Llama3.1-8B-PRM-Mistral-Data", *QUESTION)
    _refused(
        done, "RLHFlow/Llama3.1-8B-PRM-Mistral-Data: no such folder", "HF_HUB_OFFLINE is set", "*.safetensors"
    )
