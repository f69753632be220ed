"""Vocabularies of every kind a base model can have: two real ones, the others trained here in a second.

Each builder gives a fast tokenizer. What tells them apart is how they cut ``step ки`` and the signs.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shepherd.steps import prompt, render

# Llama-3's own pre-tokenizer (meta-llama/llama3, llama/tokenizer.py): what follows a sign on its line's end
# belongs to the sign.
LLAMA3_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SIMPLE_PIECES = r" ?\d| ?\p{L}+| ?[^\s\p{L}\d]|\s+"
SPECIAL = ["<unk>", "<s>", "</s>"]
# What a vocabulary of real text also holds: signs with a blank, another sign for a tag, a word for a label.
_MORE = ["5 + 3 - 2"] * 50 + ["see § 5"] * 400 + ["no"] * 400 + ["is it no ?"] * 400
_LLAMA_SETTINGS = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "legacy": True,
}


def solutions(count: int = 300) -> list[str]:
    """Sums told in Math-Shepherd's text."""
    rng, texts = random.Random(0), []
    for _ in range(count):
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        steps = [
            f"He has {a} + {b} = <<{a}+{b}={a + b}>>{a + b} apples.",
            f"So {a + b} - {a} = {b} are left.",
        ]
        texts.append(prompt(f"Tom has {a} apples and buys {b}. How many?") + render(steps))
    return texts


def mistral(file: str) -> Callable[[Path], Any]:
    """A real vocabulary of Mistral, from the data of the package mistral-common."""

    def build(folder: Path) -> Any:
        from transformers import AutoTokenizer

        found = find_spec("mistral_common")
        assert found is not None
        assert found.submodule_search_locations is not None
        data = Path(found.submodule_search_locations[0]) / "data"
        shutil.copyfile(data / file, folder / "tokenizer.model")
        (folder / "tokenizer_config.json").write_text(json.dumps(_LLAMA_SETTINGS))
        return AutoTokenizer.from_pretrained(folder)

    return build


def byte_level(
    pieces: str, *, unseen: str = "", often: Sequence[str] = (), size: int = 480
) -> Callable[[Path], Any]:
    """A byte-level BPE, as of GPT-2 and Llama-3.

    Args:
        pieces: the pre-tokenizer's regular expression.
        unseen: a text that it is never trained on.
        often: texts that are seen so often that they merge.
        size: tokens at most.
    """

    def build(_: Path) -> Any:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pieces), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        texts = [*solutions(), *_MORE, *(text for text in often for _ in range(3000))]
        bpe.train_from_iterator([text.replace(unseen, "") for text in texts] if unseen else texts, trainer)
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        return _fast(bpe)

    return build


def metaspace(*, often: Sequence[str] = (), newlines: bool = False) -> Callable[[Path], Any]:
    """A BPE in SentencePiece's manner: ``▁`` for a blank, bytes for what is not in the vocabulary.

    Args:
        often: texts seen very often.
        newlines: let newlines into the vocabulary, where they can merge; SentencePiece leaves them to bytes.
    """

    def build(_: Path) -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

        bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
        bpe.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        bytes_ = [f"<0x{value:02X}>" for value in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=[*SPECIAL, *bytes_], show_progress=False)
        texts = [*solutions(), *(text for text in often for _ in range(3000))]
        lines = texts if newlines else [line for text in texts for line in text.split("\n")]
        bpe.train_from_iterator([*lines, *_MORE], trainer)
        bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        return _fast(bpe)

    return build


def _fast(backend: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


BUILDERS: dict[str, Callable[[Path], Any]] = {
    "mistral-v1": mistral("tokenizer.model.v1"),
    "mistral-v3": mistral("mistral_instruct_tokenizer_240323.model.v3"),
    # signs are seen at line ends so often that " +\n" and " -\n" become tokens, as in Llama-3 (3694, 18722)
    "llama-3-style": byte_level(LLAMA3_PIECES, often=("so 3 +\nthen", "so 3 -\nthen")),
    "sentencepiece-style": metaspace(),
    "spaced-signs-differ": byte_level(SIMPLE_PIECES, often=("+", "-")),
    "tag-of-several-tokens": byte_level(SIMPLE_PIECES, unseen="ки"),
    "tag-takes-newline": metaspace(often=("so 3 ки\nStep",), newlines=True),
    "minus-of-several-tokens": byte_level(SIMPLE_PIECES, unseen=" -"),
}
