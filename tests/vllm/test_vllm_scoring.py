"""Scores through vLLM against transformers: an export, and a published verifier's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from shepherd.cli import cli
from shepherd.serving import ServerConfig, VllmConfig
from verifier import load_verifier
from verifier.config import PublishedConfig
from verifier.engines.vllm import VllmReader
from verifier.golden_texts import GOLDEN_TEXTS
from verifier.parity import TOLERANCE, parity

pytestmark = pytest.mark.vllm


def flat(scores: list[list[list[float]]]) -> np.ndarray[Any, Any]:
    return np.array([step for item in scores for solution in item for step in solution])


def test_an_export_has_the_same_scores_in_vllm(exported: Path, eager: VllmConfig) -> None:
    here, there = parity(str(exported), ["transformers", "vllm"], vllm=eager)
    print(f"\n{there.line()}")
    assert here.largest == 0
    assert here.steps == there.steps == 52
    assert there.ok
    assert there.largest is not None
    assert there.largest < 1e-5


def test_a_language_model_is_read_at_its_label_rows(model: Path, eager: VllmConfig) -> None:
    """As peiyi9979/math-shepherd-mistral-7b-prm is: no head of its own, the tag inside other words too."""
    how: dict[str, Any] = {"format": "math-shepherd", "published": PublishedConfig(dtype="float32")}
    expected = load_verifier(str(model), **how)
    with closing(load_verifier(str(model), scorer="vllm", vllm=eager, **how)) as found:
        one, other = (flat(each.score_many(GOLDEN_TEXTS)) for each in (expected, found))
        assert found.counts == expected.counts
        assert found.id == expected.id
        long = ("Why?", ["\n".join(f"Step {i}: {'1 + ' * 30}1." for i in range(40))])
        (here,), (there,) = expected.score(*long), found.score(*long)
        assert isinstance(found.reader, VllmReader)
    print(f"\nlabel rows: vLLM against transformers, largest difference {abs(one - other).max():.2g}")
    assert one.std() > 0.05
    assert abs(one - other).max() < TOLERANCE
    # what lies beyond the 1024 positions of the model scores 0, as everywhere
    np.testing.assert_allclose(there, here, atol=TOLERANCE)
    assert 0 < np.count_nonzero(there) < 40


def test_shepherd_score_with_a_server_that_holds_the_export(
    exported: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """Started with the arguments of ``vllm.json``, as a user would."""
    arguments = json.loads((exported / "vllm.json").read_text())["arguments"]
    with serve(exported, {**arguments, "dtype": "float32"}) as url:
        (found,) = parity(str(exported), ["server"], server=ServerConfig(base_url=url), served_as="served")
        print(f"\n{found.line()}")
        asked = ["score", "--verifier", str(exported), "--question", "How many?", "--json"]
        asked += ["--solution", "Step 1: 1 + 1 = 2. ки\nStep 2: 2 + 2 = 5. ки"]
        served = ["--set", "scorer=server", "--set", f"server.base_url={url}", "--set", "served_as=served"]
        one, other = (CliRunner().invoke(cli, [*asked, *more]) for more in ([], served))
    assert found.largest is not None
    assert found.largest < 1e-5
    assert one.exit_code == other.exit_code == 0, other.output
    mine, theirs = (json.loads(each.stdout)["steps"] for each in (one, other))
    assert [each["score"] for each in mine] == pytest.approx([each["score"] for each in theirs], abs=1e-5)
    assert len(mine) == 2
