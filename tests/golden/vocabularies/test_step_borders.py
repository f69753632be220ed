"""Where a step pair is cut, tokens end too: what is learnt of a step is what sampling would go on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from generation.pairs.steps import pieces
from shepherd.steps import split

SOLUTIONS = [
    " Step 1: 2 + 2 = 4. ки\nStep 2: 4 + 1 = 5. ки\nStep 3: So 5. The answer is: 5 ки",
    " Step 1: 2 + 2 = 4.\nStep 2: 4 + 1 = 5.\n\nStep 3: So 5. The answer is: 5",
    " She has 2 + 2 = 4.\nThen 4 + 1 = 5 pens.\n\n  So 5.\n#### 5",
    "**Step 1:** 2 + 2 = 4 \n\n**Step 2:** 4 + 1 = 5; \n\t- so 5",
    " 2 + 2 = 4 ки 4 + 1 = 5 ки So 5 ки",
    " so 3 +\nthen 4 -\nthen 5",  # a sign and a line end are one token in Llama-3
]


@pytest.mark.parametrize("name", ["mistral-v1", "mistral-v3", "llama-3-style", "sentencepiece-style"])
@pytest.mark.parametrize(
    "solution", SOLUTIONS, ids=["tagged", "headed", "plain", "marked", "one-line", "signs"]
)
def test_steps_are_cut_where_tokens_end(vocabulary: Callable[[str], Any], name: str, solution: str) -> None:
    tokenizer = vocabulary(name)
    text = "How many?"
    found = pieces(split(solution))
    assert len(found) >= 2
    for piece in found:
        begin = tokenizer(text)["input_ids"]
        whole = tokenizer(text + piece)["input_ids"]
        assert whole[: len(begin)] == begin, piece
        text += piece
