"""A verifier's surroundings in miniature: a byte-level BPE, a random Llama, rows of sums."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from shepherd.records import StepRow
from shepherd.steps import prompt, render

DIGITS_AND_WORDS = r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\s+"
# As in GPT-4 and Llama-3: what follows a sign on the line's end belongs to the sign's token.
SIGNS_TAKE_NEWLINES = r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]+[\r\n]*|\s+"


def make_rows(count: int, seed: int = 0, candidates: int = 4) -> list[StepRow]:
    """Sums of two digits; a step is wrong if it ends in the wrong digit, so there is something to learn."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        if number % candidates == 0:
            a, b, c = (rng.randint(0, 3) for _ in range(3))
            question = f"Tom has {a} apples, buys {b} and then {c}. How many apples?"
        first = a + b + rng.choice((0, 0, 1))
        second = first + c + rng.choice((0, 0, 1))
        labels = (float(first == a + b), float(first == a + b and second == first + c))
        steps = (
            f"Step 1: {a} + {b} = {first}.",
            f"Step 2: {first} + {c} = {second}. The answer is: {second}",
        )
        rows.append(StepRow(question, steps, labels, source="tiny", id=str(number)))
    return rows


def make_tokenizer(
    pattern: str = DIGITS_AND_WORDS, vocab_size: int = 420, extra: tuple[str, ...] = (), unseen: str = ""
) -> Any:
    """A byte-level BPE trained on rows; `extra` texts are seen often, texts with `unseen` in them never."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [prompt(row.question) + render(row.steps) for row in make_rows(400)]
    texts += ["1 + 2 = 3 and 3 - 2 = 1 +", "so 5 -"] * 50
    texts += [text for text in extra for _ in range(200)]
    if unseen:
        texts = [text.replace(unseen, "") for text in texts]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def build_base(folder: Path, *, seed: int = 0, positions: int = 256, width: int = 32) -> Path:
    """Save a random Llama with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: list[StepRow]) -> Path:
    """Step rows as JSON lines."""
    path.write_text("".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


class FakeRun:
    """What training needs of a run: a place, a log, metrics."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logged: list[str] = []
        self.metrics: list[dict[str, Any]] = []
        path.mkdir(parents=True, exist_ok=True)

    def log(self, message: str) -> None:
        self.logged.append(message)

    def metric(self, **values: Any) -> None:
        self.metrics.append(values)
