"""The rows of pairs in TRL's own hands: its data functions make of them what a pair says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from generation.pairs.files import write_pairs
from generation.pairs.pair import Pair, Side
from shepherd.files import read_jsonl

pytestmark = pytest.mark.slow  # TRL takes a dozen seconds to import

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SIDES = (Side(" 2 + 2 = 4", True, "round-1/p/0", 0.9), Side(" 2 + 2 = 5", False, "round-1/p/1", 0.1))


@pytest.fixture(scope="module")
def data_utils() -> Any:
    return importlib.import_module("trl.data_utils")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from verifier.model import load_tokenizer

    found = load_tokenizer("embedded:weak")
    found.chat_template = CHAT
    return found


def rows(path: Path, *pairs: Pair) -> list[dict[str, Any]]:
    write_pairs(path, pairs)
    return [row for _, row in read_jsonl(path)]


def test_a_pair_of_texts_is_plain_preference_data(data_utils: Any, tokenizer: Any, tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "pairs.jsonl", Pair("2 + 2?", *SIDES))
    assert not data_utils.is_conversational(row)
    assert data_utils.maybe_extract_prompt(row) == row
    assert data_utils.maybe_apply_chat_template(row, tokenizer) == row


def test_a_pair_of_chats_is_conversational(data_utils: Any, tokenizer: Any, tmp_path: Path) -> None:
    whole = Pair((("system", "Add."), ("user", "2 + 2?")), *SIDES)
    (row,) = rows(tmp_path / "pairs.jsonl", whole)
    assert data_utils.is_conversational(row)
    assert data_utils.maybe_extract_prompt(row) == row
    end = tokenizer.eos_token
    made = data_utils.apply_chat_template(row, tokenizer)
    assert made["prompt"] == f"<|system|>\nAdd.{end}<|user|>\n2 + 2?{end}<|assistant|>\n"
    assert (made["chosen"], made["rejected"]) == (f" 2 + 2 = 4{end}", f" 2 + 2 = 5{end}")


def test_a_step_of_a_chat_is_read_as_a_turn_that_goes_on(
    data_utils: Any, tokenizer: Any, tmp_path: Path
) -> None:
    step = Pair((("user", "2 + 2?"), ("assistant", "First, ки\n")), *SIDES)
    (row,) = rows(tmp_path / "pairs.jsonl", step)
    assert data_utils.is_conversational(row)
    prompt = data_utils.apply_chat_template({"prompt": row["prompt"]}, tokenizer)["prompt"]
    assert prompt == f"<|user|>\n2 + 2?{tokenizer.eos_token}<|assistant|>\nFirst, ки\n"


def test_a_file_of_pairs_is_a_dataset(tmp_path: Path) -> None:
    from datasets import Dataset

    made = rows(tmp_path / "pairs.jsonl", *(Pair(f"{index} + 2?", *SIDES) for index in range(3)))
    kept = Dataset.from_list(made)
    assert {"prompt", "chosen", "rejected"} <= set(kept.column_names)
    assert kept[2] == made[2]
