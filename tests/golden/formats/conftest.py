"""Small random models of the published architectures, with vocabularies in their style."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# As in Llama-3: contractions, words, up to three digits, signs with the line ends that follow, blanks.
# Qwen's takes digits one by one.
LLAMA3_PATTERN, QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    rf"{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}{1,3}", r"\p{N}")
)
LLAMA3_TEMPLATE = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3_SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>")

QUESTION = (
    "Janet's ducks lay 16 eggs per day. She eats 3 and sells the rest for $2 each. How much does she make?"
)
RIGHT = ("Step 1: 16 - 3 = 13 eggs are sold.", "Step 2: 13 * $2 = $26 + $0.", "Step 3: The answer is: 26")
WRONG = ("Step 1: 16 + 3 = 19.", "Step 2: 19 * 2 = 38. The answer is: 38")

_TEXTS = [
    QUESTION,
    *RIGHT,
    *WRONG,
    "system user assistant\n\n+\n\n-\n\n + - 1 + 2 = 3\nCutting Knowledge Date: December 2023\n",
    "Today Date: 26 Jul 2024\n\n",
    "Please reason step by step, and put your final answer within \\boxed{}.\n",
    "Step 4: so x = 7 − 3, что ки и. \n\n",
]


def _train(pattern: str, specials: tuple[str, ...], template: str, **tokens: str) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    if pattern == QWEN_PATTERN:
        bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(specials),
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXTS * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        **tokens,
        extra_special_tokens=list(specials),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def llama3_tokenizer() -> Any:
    return _train(
        LLAMA3_PATTERN,
        LLAMA3_SPECIALS,
        LLAMA3_TEMPLATE,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
    )


@pytest.fixture(scope="session")
def qwen_tokenizer() -> Any:
    return _train(
        QWEN_PATTERN, QWEN_SPECIALS, CHATML_TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


@pytest.fixture(scope="session")
def mistral_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real Mistral v1 vocabulary, from mistral-common's package data."""
    import mistral_common

    folder = tmp_path_factory.mktemp("mistral-v1")
    data = Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1"
    shutil.copyfile(data, folder / "tokenizer.model")
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
}
"""Wide enough weights that a wrong position or class gives another score by far."""


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """A random model of a transformers class, the same every time."""
    import torch

    def make(model_class: Any, config: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return model_class(config).eval()

    return make


@pytest.fixture(autouse=True)
def _no_bars() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    return dict(SMALL)


@pytest.fixture(scope="session")
def texts() -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A question, the steps of a right solution and of a wrong one."""
    return QUESTION, RIGHT, WRONG


@pytest.fixture(scope="session")
def tagged() -> Callable[[tuple[str, ...]], str]:
    """Steps as one solution text that is split into the very same steps."""

    def join(steps: tuple[str, ...]) -> str:
        return "\n".join(f"{step} ки" for step in steps)

    return join
