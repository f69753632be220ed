r"""``qwen2.5-math-prm``: Qwen's process reward models (arXiv 2501.07301).

    system: Please reason step by step, and put your final answer within \boxed{}.
    user: {question}
    assistant: {step 1}<extra_0>{step 2}<extra_0>…

Two classes at every ``<extra_0>``, bad and good, from a head of two linear layers. The checkpoint brings code
of its own; none of it is run: the body is a plain Qwen2, and the head's weights are read from its files.
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

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
SEPARATOR = "<extra_0>"
_CHUNK = 256


class QwenMathPrm:
    """Qwen/Qwen2.5-Math-PRM-7B, Qwen/Qwen2.5-Math-PRM-72B and Qwen/Qwen2.5-Math-7B-PRM800K."""

    name: ClassVar[str] = "qwen2.5-math-prm"
    auto_class: ClassVar[str] = "AutoModel"
    good_class: ClassVar[int] = 1

    def __init__(self, tokenizer: Any, options: PublishedConfig) -> None:
        self.turns = Turns(tokenizer, self.name, [SEPARATOR])
        ids = tokenizer.encode(SEPARATOR, add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise ShepherdError(
                f"format {self.name}: {SEPARATOR} is no token of this tokenizer; "
                "use the tokenizer files of the checkpoint itself"
            )
        self.separator_id = int(ids[0])
        self.label_ids: tuple[int, int] | None = None
        self.step_tag_id: int | None = self.separator_id

    @classmethod
    def claims(cls, name: str, config: Mapping[str, Any]) -> bool:
        """By architecture, in whichever way the config states it, or by name."""
        stated = [*(config.get("architectures") or []), *map(str, (config.get("auto_map") or {}).values())]
        return any("Qwen2ForProcessRewardModel" in each for each in stated) or named(
            name, config, "qwen2.5-math-prm-", "qwen2.5-math-7b-prm800k"
        )

    def encode(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
        """One conversation a solution; positions are its separators'."""
        for start in range(0, len(solutions), _CHUNK):
            part = solutions[start : start + _CHUNK]
            rows = self.turns.tokenize([self._conversation(question, steps) for question, steps in part])
            for row, (question, steps) in zip(rows["input_ids"], part, strict=True):
                ids = np.array(row, dtype=np.int32)
                positions = np.flatnonzero(ids == self.separator_id).astype(np.int32)
                if len(positions) != len(steps):
                    raise ShepherdError(
                        f"format {self.name}: question {question[:60]!r}: {len(steps)} steps but "
                        f"{len(positions)} {SEPARATOR} after encoding; the chat template changes its turns"
                    )
                yield EncodedSolution(ids, positions)

    def head(self, model: Any, folder: Path) -> Head:
        """The two-layer classifier, from the checkpoint's files."""
        from verifier.formats.two_class import TwoClass, read_two_layers

        return TwoClass(read_two_layers(folder, model.device), self.good_class)

    def _conversation(self, question: str, steps: Sequence[str]) -> str:
        if not steps:
            return ""
        solution = "".join(self.turns.plain(step) + SEPARATOR for step in steps)
        return self.turns.render(
            [("system", SYSTEM), ("user", self.turns.plain(question)), ("assistant", solution)]
        )
