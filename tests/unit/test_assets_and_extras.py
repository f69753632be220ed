from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from shepherd import assets
from shepherd.assets import asset, resolve_model
from shepherd.errors import ShepherdError
from shepherd.extras import require


def test_an_asset_is_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weak").mkdir()
    (tmp_path / "rows.jsonl.xz").write_text("")
    monkeypatch.setattr(assets, "_FOLDER", tmp_path)
    assert asset("weak") == tmp_path / "weak"
    assert asset("rows") == tmp_path / "rows.jsonl.xz"
    assert resolve_model("embedded:weak") == str(tmp_path / "weak")


def test_a_path_or_a_hub_name_is_left_alone() -> None:
    assert resolve_model("meta-llama/Meta-Llama-3-8B") == "meta-llama/Meta-Llama-3-8B"
    assert resolve_model("./runs/x") == "./runs/x"


def test_an_asset_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "_FOLDER", tmp_path)
    with pytest.raises(
        ShepherdError, match=r"^embedded:week: no such packaged asset; there are: tokenizer, weak"
    ):
        resolve_model("embedded:week")
    with pytest.raises(
        ShepherdError, match=r"strong: the packaged asset 'strong' is not there; build it with: make emb"
    ):
        asset("strong")


@pytest.mark.parametrize("extra", ["vllm", "vllm-cpu", "server", "dev"])
def test_an_absent_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        ShepherdError, match=rf"needs the extra '{extra}': pip install 'shepherd-prm\[{extra}\]'$"
    ):
        require(extra)


def test_an_extra_that_is_there_is_fine() -> None:
    require("dev")
