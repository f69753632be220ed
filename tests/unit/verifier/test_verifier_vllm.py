"""The vLLM scorer without vLLM: which positions it reads, what it refuses, what it is started with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from shepherd.errors import ShepherdError
from verifier import load_verifier
from verifier.engines.vllm import VllmReader, label_names, serve_command, vllm_arguments
from verifier.parity import Parity, parity
from verifier.scoring import Verifier
from verifier.tags import EncodedSolution, resolve

TAG = 7


class FakeProcess:
    """Stands for vLLM: a row for each position it pools at, P(class 0) being a hundredth of the position."""

    where, context = "verifier v", 50

    def __init__(
        self, step: bool, change: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows
    ) -> None:
        self.step, self.change, self.asked = step, change, 0

    def call(self, function: Callable[[Any], Any]) -> Any:
        return function(self)

    def encode(self, prompts: Sequence[dict[str, list[int]]], **_: object) -> list[Any]:
        answers = []
        for prompt in prompts:
            ids = prompt["prompt_token_ids"]
            self.asked += len(ids)
            at = [i for i, token in enumerate(ids) if not self.step or token == TAG]
            rows = self.change(torch.tensor([[i / 100, 1 - i / 100] for i in at]))
            answers.append(SimpleNamespace(outputs=SimpleNamespace(data=rows)))
        return answers


def solution(length: int, tags: Sequence[int], others: Sequence[int] = ()) -> EncodedSolution:
    ids = np.ones(length, dtype=np.int32)
    ids[[*tags, *others]] = TAG
    return EncodedSolution(ids, np.array(tags, dtype=np.int32))


def reader(process: FakeProcess, good: int = 0) -> VllmReader:
    return VllmReader(process, TAG if process.step else None, good)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [True, False])
def test_scores_are_read_at_the_tags_and_not_where_the_token_stands_in_a_word(step: bool) -> None:
    process = FakeProcess(step)
    asked = [solution(30, [10, 20, 25], [3, 12]), solution(9, []), solution(60, [5, 55], [4])]
    scores = reader(process).scores(asked, 4096)
    np.testing.assert_allclose(scores[0], [0.10, 0.20, 0.25], atol=1e-6)
    assert len(scores[1]) == 0
    np.testing.assert_allclose(scores[2], [0.05, 0], atol=1e-6)  # 55 lies beyond the 50 tokens
    assert process.asked == 26 + 6  # nothing after the last tag is sent


def test_the_good_class_is_the_one_that_was_said() -> None:
    (scores,) = reader(FakeProcess(True), good=1).scores([solution(30, [10, 20])], 4096)
    np.testing.assert_allclose(scores, [0.9, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], r"shape \(1, 2\) for 2 positions, expected \(2, 2\)"),
        (lambda rows: rows.repeat(1, 32), r"shape \(2, 64\) for 2 positions"),
        (lambda rows: rows * 3, "no probabilities"),
        (lambda rows: rows - 0.5, "no probabilities"),
        (lambda rows: rows * torch.nan, "no probabilities"),
    ],
)
def test_what_is_no_row_of_probabilities_is_refused(change: Any, said: str) -> None:
    with pytest.raises(ShepherdError, match=f"verifier v: vLLM returned .*{said}"):
        reader(FakeProcess(True, change)).scores([solution(30, [10, 20])], 4096)


def test_a_verifier_of_vllm_counts_and_splits_as_any() -> None:
    def encode(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[EncodedSolution]:
        return [solution(30, range(10, 10 + len(steps))) for _, steps in pairs]

    verifier = Verifier(reader(FakeProcess(True)), encode, "id", "v")
    found = verifier.score("How many?", ["1 + 1 = 2.\n2 + 2 = 4.", "", "1 + 1 = 2.\n2 + 2 = 4."])
    assert [len(each) for each in found] == [2, 0, 2]
    assert found[0] == found[2]
    assert verifier.counts.solutions == 3
    assert verifier.counts.solutions_without_steps == 1


def test_labels_go_by_names_that_stand_for_them_alone(tiny_tokenizer: Any) -> None:
    contract = resolve(tiny_tokenizer)
    assert label_names(tiny_tokenizer, contract.good_id, contract.bad_id) == ("Ġ+", "Ġ-")
    doubled = SimpleNamespace(
        convert_ids_to_tokens=lambda _: ["+", "-"], convert_tokens_to_ids=lambda _: [1, 2]
    )
    with pytest.raises(ShepherdError, match=r"not the names of tokens \[9, 8\] alone"):
        label_names(doubled, 9, 8)


def test_the_server_is_started_with_the_same_arguments() -> None:
    parts = shlex.split(serve_command("a b", {**vllm_arguments(TAG), "dtype": "bfloat16"}))
    assert parts[:5] == ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", "a b"]
    assert parts[parts.index("--runner") + 1] == "pooling"
    pooling = '{"task": "token_classify", "pooling_type": "STEP", "step_tag_id": 7}'
    assert parts[parts.index("--pooler-config") + 1] == pooling
    assert parts[-2:] == ["--dtype", "bfloat16"]


@pytest.mark.parametrize("scorer", ["vllm", "server"])
def test_an_adapter_is_to_be_exported_first(
    scorer: Any, tiny_verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifier.engines.require.require_vllm", lambda: None)
    with pytest.raises(ShepherdError, match=rf"scorer={scorer} runs one merged model; run shepherd export"):
        load_verifier(str(tiny_verifier), scorer=scorer)


def test_parity_names_the_engine_that_is_refused(
    tiny_verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = parity(str(tiny_verifier), ["transformers", "vllm"])
    assert [each.engine for each in found] == ["transformers", "vllm"]
    assert found[0].ok
    assert found[0].steps == 52
    assert found[0].largest == 0
    assert not found[1].ok
    assert found[1].line().startswith("vllm: ")

    def shifted(self: Verifier, items: Any, *_: Any) -> Any:
        return [[[score + 0.01 for score in one] for one in item] for item in scored(self, items)]

    scored = Verifier.score_many
    import verifier.parity as module

    reference = module._reference(str(tiny_verifier), {})
    monkeypatch.setattr(module, "_reference", lambda *_: reference)
    monkeypatch.setattr(Verifier, "score_many", shifted)
    (wrong,) = parity(str(tiny_verifier), ["transformers"])
    assert wrong.largest == pytest.approx(0.01)
    assert wrong.line() == (
        "transformers: largest difference 0.01 over 52 steps, above 0.001: refused; score with "
        "scorer=transformers"
    )


def test_the_verdict_of_an_engine_at_the_edge() -> None:
    assert Parity("server", 4, 1e-3, 1.0).ok
    assert not Parity("server", 4, float("nan"), 1.0).ok
