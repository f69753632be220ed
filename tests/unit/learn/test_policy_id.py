"""The name that tells one policy from every other."""

from __future__ import annotations

import shutil
from pathlib import Path

from generation.learn.policy import policy_id
from shepherd.assets import resolve_model


def test_what_is_in_the_files_names_a_policy_not_where_they_lie(tmp_path: Path) -> None:
    packaged = policy_id("embedded:weak", None)
    copy = tmp_path / "copy"
    shutil.copytree(resolve_model("embedded:weak"), copy)
    assert policy_id(str(copy), None) == packaged
    config = copy / "config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    assert policy_id(str(copy), None) != packaged
    assert policy_id("some/hub-name", None) != policy_id("other/hub-name", None)
