r"""``trl``: token classification as TRL's PRMTrainer trained it (until TRL 1.13).

    [BOS] {question} then, for each step, {step} and the separator ("\n"), each tokenized on its own

Two classes, bad and good, read at the separator's last token. Ids are put together from parts that were
tokenized apart, so they differ from those of the whole text: positions are known by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from shepherd.errors import ShepherdError
from verifier.config import PublishedConfig
from verifier.tags import EncodedSolution

if TYPE_CHECKING:
    from verifier.heads import Head

_CHUNK = 256


class Trl:
    """Any ``…ForTokenClassification`` of two classes that TRL's PRMTrainer wrote."""

    name: ClassVar[str] = "trl"
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    good_class: ClassVar[int] = 1

    def __init__(self, tokenizer: Any, options: PublishedConfig) -> None:
        self.tokenizer = tokenizer
        self.separator = tokenizer.encode(options.separator, add_special_tokens=False)
        if not self.separator:
            raise ShepherdError(
                f"format {self.name}: the separator {options.separator!r} is no token of this tokenizer; "
                "--set published.separator=… as it was in training"
            )
        self.label_ids: tuple[int, int] | None = None
        self.step_tag_id: int | None = None  # the separator's tokens may stand inside a step too

    @classmethod
    def claims(cls, name: str, config: Mapping[str, Any]) -> bool:
        """By architecture; not this project's own exports, whose classes have names."""
        kinds = config.get("architectures") or []
        labels = {str(label) for label in (config.get("id2label") or {}).values()}
        return any(kind.endswith("ForTokenClassification") for kind in kinds) and labels != {"good", "bad"}

    def encode(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
        """Parts put together; positions are those of the separators' last tokens."""
        bos = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        for start in range(0, len(solutions), _CHUNK):
            part = solutions[start : start + _CHUNK]
            parts = iter(self._ids([text for question, steps in part for text in (question, *steps)]))
            for _, steps in part:
                ids, positions = bos + next(parts), []
                for _ in steps:
                    ids += [*next(parts), *self.separator]
                    positions.append(len(ids) - 1)
                yield EncodedSolution(np.array(ids, dtype=np.int32), np.array(positions, dtype=np.int32))

    def head(self, model: Any, folder: Path) -> Head:
        """The model's own classifier."""
        from verifier.formats.two_class import TwoClass

        return TwoClass(model.score, self.good_class)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return [list(ids) for ids in encoded["input_ids"]]
