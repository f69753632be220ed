"""``math-shepherd``: the published Math-Shepherd verifier (arXiv 2312.08935).

    {question} Step 1: … ки
    Step 2: … ки

Softmax over the logits of ``+`` and ``-`` at the tag's own position. It is this project's own template, so
the ids come from `verifier.tags`, in context (12902, 648 and 387 in its Mistral v1 vocabulary).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from verifier import tags
from verifier.config import PublishedConfig
from verifier.formats.format import named
from verifier.tags import EncodedSolution

if TYPE_CHECKING:
    from verifier.heads import Head


class MathShepherd:
    """peiyi9979/math-shepherd-mistral-7b-prm."""

    name: ClassVar[str] = "math-shepherd"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    good_class: ClassVar[int] = 0

    def __init__(self, tokenizer: Any, options: PublishedConfig) -> None:
        self.tokenizer = tokenizer
        self.contract = tags.resolve(tokenizer)
        self.label_ids: tuple[int, int] | None = (self.contract.good_id, self.contract.bad_id)
        self.step_tag_id: int | None = self.contract.tag_id

    @classmethod
    def claims(cls, name: str, config: Mapping[str, Any]) -> bool:
        """By name alone: its config is that of any Mistral."""
        return named(name, config, "math-shepherd-mistral-7b-prm")

    def encode(self, solutions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[EncodedSolution]:
        """The template's text, whole; positions are the tags'."""
        return tags.encode(self.tokenizer, self.contract, solutions)

    def head(self, model: Any, folder: Path) -> Head:
        """The label rows of the model's own output head."""
        from verifier.heads import LabelRows

        return LabelRows(model.get_output_embeddings(), self.contract.good_id, self.contract.bad_id)
