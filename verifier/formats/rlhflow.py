r"""``rlhflow``: RLHFlow's verifiers on Llama-3.1-8B, which answer every step in a chat turn.

    user: {question} {step 1}    assistant: +    user: {step 2}    assistant: +    …

A step's score is softmax over the logits of ``+`` and ``-`` at the position that predicts the assistant's
``+``: the third from the end in a conversation that ends there. Their own code (prm_evaluate.py) reads a
conversation of its own for each step. Attention is causal and every earlier turn is the same, so one
conversation with all the steps gives the same scores in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shepherd.errors import ShepherdError
from verifier.config import PublishedConfig
from verifier.formats.chat import Turns
from verifier.formats.format import named
from verifier.tags import EncodedSolution

if TYPE_CHECKING:
    from verifier.heads import Head

_GOOD, _BAD = "+", "-"
# Stands where a verdict will: one character of the private use area, as long as the verdict itself.
_HOLE = "\ue000"
_CHUNK = 256


class RlhFlow:
    """RLHFlow/Llama3.1-8B-PRM-Mistral-Data and RLHFlow/Llama3.1-8B-PRM-Deepseek-Data."""

    name: ClassVar[str] = "rlhflow"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    good_class: ClassVar[int] = 0

    def __init__(self, tokenizer: Any, options: PublishedConfig) -> None:
        self.turns = Turns(tokenizer, self.name, [_HOLE])
        # Their label ids: the last token of either sign alone.
        self.good_id, self.bad_id = (int(tokenizer.encode(sign)[-1]) for sign in (_GOOD, _BAD))
        self.label_ids: tuple[int, int] | None = (self.good_id, self.bad_id)
        self.step_tag_id: int | None = None  # read before the verdict, where any token may stand

    @classmethod
    def claims(cls, name: str, config: Mapping[str, Any]) -> bool:
        """By name alone: its config is that of any Llama."""
        return named(name, config, "llama3.1-8b-prm-mistral-data", "llama3.1-8b-prm-deepseek-data")

    def encode(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
        """One conversation a solution; positions are those before the assistant's verdicts."""
        for start in range(0, len(solutions), _CHUNK):
            part = solutions[start : start + _CHUNK]
            texts = [self._conversation(question, steps) for question, steps in part]
            encoded = self.turns.tokenize([text.replace(_HOLE, _GOOD) for text in texts])
            for row, (text, (question, steps)) in enumerate(zip(texts, part, strict=True)):
                ids = np.array(encoded["input_ids"][row], dtype=np.int32)
                holes = [at for at, character in enumerate(text) if character == _HOLE]
                verdicts = np.array([encoded.char_to_token(row, at) for at in holes], dtype=np.int32)
                if len(verdicts) != len(steps) or (ids[verdicts] != self.good_id).any():
                    raise ShepherdError(
                        f"format {self.name}: question {question[:60]!r}: the chat template does not show "
                        f"each of {len(steps)} verdicts as token {self.good_id}; it is no Llama-3 template"
                    )
                yield EncodedSolution(ids, verdicts - 1)

    def head(self, model: Any, folder: Path) -> Head:
        """The label rows of the model's own output head."""
        from verifier.heads import LabelRows

        return LabelRows(model.get_output_embeddings(), self.good_id, self.bad_id)

    def _conversation(self, question: str, steps: Sequence[str]) -> str:
        """The rendered turns, with a hole for each verdict."""
        if not steps:
            return ""
        asked = [self.turns.plain(step).strip() for step in steps]
        asked[0] = f"{self.turns.plain(question).strip()} {asked[0]}"
        return self.turns.render([turn for step in asked for turn in (("user", step), ("assistant", _HOLE))])
