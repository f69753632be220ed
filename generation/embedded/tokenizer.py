"""The embedded world's tokenizer: a small byte-level BPE, built as the vocabularies of real models are.

Digits are single tokens, with and without a leading space; ``ки`` and `` ки``, ``+`` and `` +`` are
different tokens; any other text falls back to bytes, so real GSM8K texts can be read too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 768
_PIECES = r" ?\p{L}+| ?\d| ?[^\s\p{L}\d]|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on texts of the world.

    Args:
        texts: questions and solutions in Math-Shepherd text, tags included.

    Returns:
        A fast tokenizer of ``VOCABULARY_SIZE`` tokens that puts ``<s>`` before a text; ``decode`` is exact.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The pieces that must be one token are common in any text of the world; some of each makes it certain.
    signs = [" +", " -", " *", " /", " =", " ки", "ки", "+", "-", *(f" {d}" for d in range(10))]
    backend.train_from_iterator([*texts, *(sign for sign in signs for _ in range(1000))], trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer's files into ``folder``."""
    tokenizer.save_pretrained(str(folder))
