"""What every format offers: how a solution is written for the model, and where the verdicts are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from verifier.config import PublishedConfig
from verifier.tags import EncodedSolution

if TYPE_CHECKING:
    from verifier.heads import Head


class Format(Protocol):
    """One published way of asking a model about every step of a solution, in one pass.

    Attributes:
        name: as ``--set format=NAME`` has it.
        auto_class: the transformers class that loads the model.
        label_ids: good and bad in the vocabulary, whose rows of the output head are read; None for a model
            with a head of two classes.
        good_class: which of two classes is good; 0 where labels are read.
        step_tag_id: the one token at whose positions, all of them, scores are read; None where the positions
            are not those of one token, so that an engine which finds them by id cannot serve the format.
    """

    name: ClassVar[str]
    auto_class: ClassVar[str]
    good_class: ClassVar[int]
    label_ids: tuple[int, int] | None
    step_tag_id: int | None

    def __init__(self, tokenizer: Any, options: PublishedConfig) -> None:
        """Find the format's token ids in the tokenizer; one that does not fit is refused."""
        ...

    @classmethod
    def claims(cls, name: str, config: Mapping[str, Any]) -> bool:
        """Is the checkpoint of this name and ``config.json`` of this format?"""
        ...

    def encode(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
        """Token ids of (question, steps) pairs, with as many positions as steps, always."""
        ...

    def head(self, model: Any, folder: Path) -> Head:
        """What turns hidden states at the positions into two logits, good first."""
        ...


def named(name: str, config: Mapping[str, Any], *keys: str) -> bool:
    """Does the name, or the name the config was saved under, hold one of the keys?

    Example:
        >>> named("/models/Math-Shepherd-Mistral-7B-PRM", {}, "math-shepherd-mistral-7b-prm")
        True
    """
    names = f"{name}\n{config.get('_name_or_path', '')}".lower()
    return any(key in names for key in keys)
