"""The transformers engine against a plain forward pass of the same tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from generation.config import SamplerConfig
from generation.engines import Prompt, Sampling, load_engine, require_engine
from generation.engines.shared_prefix import SharedPrefixLayer
from generation.engines.transformers import TransformersEngine
from generation.prompts import encode
from shepherd.errors import ShepherdError

VOCABULARY = 64
ENDS = [2, 3, 4]


class NumberTokenizer:
    """Texts are token ids in decimal: what is sampled can be read off exactly."""

    eos_token_id = 2

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: object) -> list[str]:
        return [" ".join(str(int(token)) for token in row) for row in rows]


def tiny_model(kv_heads: int = 2, **more: object) -> LlamaForCausalLM:
    torch.manual_seed(1)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": kv_heads, "max_position_embeddings": 256}
    config = LlamaConfig(**shape, **heads, **more)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(5)  # random weights are too even to tell one context from another
    model.generation_config.eos_token_id = ENDS
    return model


def engine_of(model: LlamaForCausalLM) -> TransformersEngine:
    return TransformersEngine(model, NumberTokenizer(), "tiny")  # type: ignore[arg-type]


PROMPTS = [
    Prompt("a", "10 11 12 13 14 15 16"),
    Prompt("b", "20 21 22"),
    Prompt("c", "9 8 30 31 32 33 40 41 42 43 44 45"),
    Prompt("d", "20 21 22"),
]


def log_probabilities(model: LlamaForCausalLM, prompt: Prompt, text: str) -> torch.Tensor:
    """Log-probabilities of the next token at each place of the solution, by one plain pass over the text."""
    before, solution = prompt.text.split(), text.split()
    ids = torch.tensor([[int(word) for word in before + solution]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    return logits.float().log_softmax(-1)[len(before) - 1 :]


@pytest.mark.parametrize("temperature", [1.3, 0.05])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_log_likelihood_is_that_of_a_plain_forward_pass(kv_heads: int, temperature: float) -> None:
    model = tiny_model(kv_heads)
    sampling = Sampling(temperature=temperature, max_new_tokens=20)
    sampled = engine_of(model).generate(PROMPTS, 12, sampling, seed=0)
    reasons = set()
    for prompt, candidates in zip(PROMPTS, sampled, strict=True):
        for each in candidates:
            tokens = [int(word) for word in each.text.split()]
            table = log_probabilities(model, prompt, each.text)
            total = sum(float(table[place, token]) for place, token in enumerate(tokens))
            assert each.tokens is not None
            assert each.logprob is not None
            expected = [total]
            if each.finish_reason == "stop":
                expected = [total + float(table[-1, end]) for end in ENDS]
                assert each.tokens == len(tokens) + 1
            assert min(abs(value / each.tokens - each.logprob) for value in expected) < 2e-5
            reasons.add(each.finish_reason)
    assert reasons == {"stop", "length"}


def test_a_candidate_does_not_depend_on_its_batch() -> None:
    engine, sampling = engine_of(tiny_model()), Sampling(max_new_tokens=40)
    together = engine.generate(PROMPTS, 6, sampling, seed=3)
    alone = [engine.generate([prompt], 6, sampling, seed=3)[0] for prompt in PROMPTS]
    assert [[each.text for each in row] for row in together] == [[each.text for each in row] for row in alone]
    later = engine.generate(PROMPTS[1:2], 2, sampling, seed=3, first=4)[0]
    assert [each.text for each in later] == [each.text for each in together[1][4:]]


@pytest.mark.parametrize("temperature", [0.0, 0.05, 1.0])
def test_what_candidates_begin_with_alike_is_read_once(temperature: float) -> None:
    model, rows = tiny_model(), 0

    def count(_module: object, _args: object, named: dict[str, torch.Tensor]) -> None:
        nonlocal rows
        ids = named["input_ids"]
        rows += len(ids) if ids.shape[1] == 1 else 0  # the first pass reads the prompts

    model.register_forward_pre_hook(count, with_kwargs=True)
    sampling = Sampling(temperature=temperature, max_new_tokens=40)
    drawn = engine_of(model).draw(PROMPTS, 16, sampling, seed=0)
    distinct = sum(len({tuple(c.ids[:at]) for c in row for at in range(1, len(c.ids))}) for row in drawn)
    assert rows == distinct
    if temperature < 1:
        assert distinct < 0.8 * sum(len(c.ids) for row in drawn for c in row)


@pytest.mark.parametrize("stop", [(), (" 5", "7 ")])
def test_neither_parts_nor_threads_change_a_candidate(
    monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...]
) -> None:
    engine, sampling = engine_of(tiny_model()), Sampling(temperature=0.6, max_new_tokens=40, stop=stop)
    whole = engine.generate(PROMPTS, 6, sampling, seed=3)
    monkeypatch.setattr("generation.engines.transformers.PART", 8)  # a problem each
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(engine.generate(PROMPTS, 6, sampling, seed=3))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]
    assert [[c.text for c in row] for row in found[0]] == [[c.text for c in row] for row in whole]


def test_a_part_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(tiny_model())
    engine.ends = torch.tensor([VOCABULARY])  # nothing ends by itself
    monkeypatch.setattr("generation.engines.transformers.PART", 1)
    forward, calls = engine.model.forward, 0

    def failing(**named: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        if named["input_ids"].shape[1] == 3:  # the second prompt
            raise RuntimeError("no more")
        return forward(**named)

    monkeypatch.setattr(engine.model, "forward", failing)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="no more"):
            engine.generate(PROMPTS, 2, Sampling(max_new_tokens=200), seed=0)
    finally:
        torch.set_num_threads(threads)
    assert calls < 150


@pytest.mark.parametrize(("n", "tokens", "part"), [(1, 40, 1024), (5, 1, 1024), (5, 150, 2)])
def test_small_and_long_batches(monkeypatch: pytest.MonkeyPatch, n: int, tokens: int, part: int) -> None:
    """One candidate, one token, more candidates of a problem than a part; rows that branch late."""
    model = tiny_model()
    engine = engine_of(model)
    engine.ends = torch.tensor([VOCABULARY])
    monkeypatch.setattr("generation.engines.transformers.PART", part)
    sampling = Sampling(temperature=0.05, max_new_tokens=tokens)
    for prompt, row in zip(PROMPTS, engine.generate(PROMPTS, n, sampling, seed=1), strict=True):
        for each in row:
            table = log_probabilities(model, prompt, each.text)
            words = [int(word) for word in each.text.split()]
            total = sum(float(table[at, word]) for at, word in enumerate(words))
            assert each.logprob == pytest.approx(total / tokens, abs=2e-5)


def test_a_slab_grows_by_rows_and_by_tokens_and_holds_what_it_held() -> None:
    layer = SharedPrefixLayer()
    states = torch.arange(3.0)[:, None, None, None].expand(3, 2, 1, 4)
    layer.update(states, states)  # the prompts'
    layer.most = 10
    for _ in range(63):
        keys, _ = layer.update(states, states)
    layer.move(torch.tensor([1, 2, 1, 2]), torch.tensor([3, 4, 5, 6]), rows=7)
    assert layer.sampled is not None
    assert layer.sampled.keys.shape == (10, 2, 64, 4)
    wider = torch.tensor([0.0, 1, 2, 1, 2, 1, 2])[:, None, None, None].expand(7, 2, 1, 4)
    for _ in range(2):
        keys, values = layer.update(wider, wider)
    assert keys.shape == values.shape == (7, 2, 65, 4)
    assert (keys == wider).all()
    assert layer.sampled.keys.shape == (10, 2, 128, 4)


def test_4_bit_models_are_sampled_in_one_part() -> None:
    engine = engine_of(tiny_model())
    assert engine._has_parts()
    engine.model.is_quantized = True
    assert not engine._has_parts()


def test_the_same_call_gives_the_same_candidates_and_a_key_its_own() -> None:
    engine, sampling = engine_of(tiny_model()), Sampling(max_new_tokens=40)
    first, second = (engine.generate(PROMPTS, 3, sampling, seed=0) for _ in range(2))
    assert first == second
    assert engine.generate(PROMPTS, 3, sampling, seed=1) != first
    assert first[1] != first[3]  # the same question under another id is another problem
    assert len({each.text for each in first[0]}) == 3


def test_temperature_0_is_what_transformers_generates() -> None:
    model = tiny_model()
    ours = engine_of(model).generate(PROMPTS[:1], 1, Sampling(temperature=0, max_new_tokens=30), seed=0)[0][0]
    ids = torch.tensor([[int(word) for word in PROMPTS[0].text.split()]])
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, pad_token_id=0
    )
    expected = [token for token in theirs[0, ids.shape[1] :].tolist() if token not in ENDS]
    assert [int(word) for word in ours.text.split()] == expected


def test_a_stop_text_ends_a_candidate_and_is_cut_off() -> None:
    engine = engine_of(tiny_model())
    free = engine.generate(PROMPTS, 8, Sampling(max_new_tokens=60), seed=0)
    stopped = engine.generate(PROMPTS, 8, Sampling(max_new_tokens=60, stop=(" 5", "7 ")), seed=0)
    changed = 0
    for whole, cut in zip((c for row in free for c in row), (c for row in stopped for c in row), strict=True):
        ends = [at for at in (whole.text.find(" 5"), whole.text.find("7 ")) if at >= 0]
        assert cut.text == (whole.text[: min(ends)] if ends else whole.text)
        if ends:
            assert cut.finish_reason == "stop"
            assert cut.tokens is not None
            assert whole.tokens is not None
            assert cut.tokens <= whole.tokens
            changed += 1
    assert changed > 3


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model().train()
    threads, attention = torch.get_num_threads(), model.config._attn_implementation
    torch.set_num_threads(2)
    try:
        engine_of(model).generate(PROMPTS[:1], 2, Sampling(max_new_tokens=4), seed=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert model.training
    assert model.config._attn_implementation == attention


def test_more_positions_than_the_model_has_are_refused() -> None:
    with pytest.raises(ShepherdError, match=r"tiny: 256 positions, fewer than prompt and solution \(267\)"):
        engine_of(tiny_model()).generate(PROMPTS[:1], 1, Sampling(max_new_tokens=260), seed=0)


def test_a_sliding_window_is_refused_where_it_would_count() -> None:
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256, sliding_window=32,
    )  # fmt: skip
    engine = engine_of(MistralForCausalLM(config))  # type: ignore[arg-type]
    assert len(engine.generate(PROMPTS[:1], 2, Sampling(max_new_tokens=25), seed=0)[0]) == 2
    with pytest.raises(ShepherdError, match="a sliding window of 32 tokens"):
        engine.generate(PROMPTS[:1], 2, Sampling(max_new_tokens=26), seed=0)


def test_rotations_that_change_with_the_longest_text_are_refused() -> None:
    factors = [1.0] * 4
    rope = {"rope_type": "longrope", "short_factor": factors, "long_factor": [2.0] * 4, "rope_theta": 1e4}
    model = tiny_model(rope_parameters={**rope, "original_max_position_embeddings": 32})
    engine = engine_of(model)
    assert len(engine.generate(PROMPTS[:1], 2, Sampling(max_new_tokens=25), seed=0)[0]) == 2
    with pytest.raises(ShepherdError, match="rotations that change beyond 32 tokens"):
        engine.generate(PROMPTS[:1], 2, Sampling(max_new_tokens=26), seed=0)


def test_a_chat_prompt_without_a_template_says_what_to_do() -> None:
    with pytest.raises(ShepherdError, match=r"no chat template; set prompt\.chat=false"):
        engine_of(tiny_model()).generate([Prompt("a", "10", chat=True)], 1, Sampling(), seed=0)


def test_an_engine_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ShepherdError, match="vllm"):
        load_engine(SamplerConfig(engine="vllm"))
    with pytest.raises(ShepherdError, match="'llama' is unknown; choose one of transformers, vllm"):
        require_engine("llama")
    with pytest.raises(ShepherdError, match="model /no/such/folder"):
        load_engine(SamplerConfig(model="/no/such/folder"))


def test_prompts_of_a_mistral_are_cut_as_sentencepiece_cuts_them(tmp_path: Path) -> None:
    """Where tokenizer.model lies alone beside its config.json, as training and export read it."""
    mistral_common = pytest.importorskip("mistral_common")
    from sentencepiece import SentencePieceProcessor

    vocabulary = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
    shutil.copyfile(vocabulary, tmp_path / "tokenizer.model")
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "add_bos_token": True}))
    config = MistralConfig(
        vocab_size=32000, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=None,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    engine = TransformersEngine.load(str(tmp_path), device="cpu")
    pieces = SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert encode(engine.tokenizer, Prompt("a", "Tom runs."), "m") == [1, *pieces.encode("Tom runs.")]
