"""The wheel, alone: built, installed into a fresh environment and used from outside the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def _run(command: list[str | Path], folder: Path) -> str:
    """Run a command as a user would who never saw the clone."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT], folder)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's scripts: the packages of the wheel, and the libraries installed here."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], folder)
    # A path in a .pth comes last and its own .pth files are not read: the clone stays unknown.
    [site] = (folder / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_packages_configs_and_assets_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "shepherd",
        "verifier",
        "generation",
        "eval",
    }
    assert "shepherd/py.typed" in names
    configs = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"shepherd/configs/{name}" for name in configs} <= set(names)
    tracked = (
        _run(["git", "ls-files", "shepherd/assets", "eval/page"], ROOT).split()
        if (ROOT / ".git").exists()
        else []
    )
    assert set(tracked) <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_packages_come_from_the_wheel(scripts: Path, tmp_path: Path) -> None:
    rooms = "shepherd, verifier, generation, eval"
    code = f"import {rooms}; print(*(room.__file__ for room in ({rooms})))"
    for path in _run([scripts / "python", "-c", code], tmp_path).split():
        assert Path(path).is_relative_to(scripts.parent)
    assert _run([scripts / "shepherd", "--version"], tmp_path).startswith("shepherd, version ")


def test_rerank_works_with_no_clone(scripts: Path, tmp_path: Path) -> None:
    command = [scripts / "shepherd", "rerank", "--n", "4", "--json", "--set", "problems.limit=20"]
    report = json.loads(_run(command, tmp_path))
    assert report["n"] == 4
    assert report["problems"] == 20
    assert {"majority", "min", "weighted_min"} <= report["rules"].keys()
    [run] = (tmp_path / "runs").iterdir()
    assert (run / "DONE").exists()
    assert json.loads((run / "manifest.json").read_text())["git"] is None
    _run([scripts / "shepherd", "report", run, "--out", tmp_path / "report"], tmp_path)
    assert "</html>" in (tmp_path / "report" / "report.html").read_text()
