"""What a generation batch looked like, in the numbers that sentinels watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from generation.learn.grpo.format import read_format
from shepherd.answers import AnswerStyle
from shepherd.steps import TAG


@dataclass(frozen=True, slots=True)
class Observation:
    """What a generation batch looked like; means over its completions.

    Attributes:
        batch: its number, from 1; 0 is the policy before the first.
        off_format: share whose steps are not set off as asked.
        no_steps: share without steps.
        no_answer: share that states no answer.
        steps: steps a completion.
        tokens: tokens a completion.
        cut: share that reached ``max_new_tokens``.
        after_answer: share of a completion's characters after its first stated answer.
        entropy: nats a token; None where nobody measured it.
        score: the verifier's score of a solution, in [0, 1]; None without a verifier.
        accuracy: held out, in [0, 1]; None in a batch after which it was not measured.
    """

    batch: int
    off_format: float
    no_steps: float
    no_answer: float
    steps: float
    tokens: float
    cut: float
    after_answer: float
    entropy: float | None = None
    score: float | None = None
    accuracy: float | None = None


def observe(
    batch: int,
    texts: Sequence[str],
    tokens: Sequence[int],
    cut: Sequence[bool],
    *,
    tags: bool,
    style: AnswerStyle = "auto",
    tag: str = TAG,
    entropy: float | None = None,
    scores: Sequence[float] | None = None,
    accuracy: float | None = None,
) -> Observation:
    r"""Look at the completions of a generation batch.

    Args:
        batch: its number.
        texts: all completions, of the groups that the gates put aside too.
        tokens: of each.
        cut: whether each reached ``max_new_tokens``.
        tags: whether steps are to be closed by the tag.
        style: how answers are stated.
        tag: the tag.
        entropy: nats a token.
        scores: the verifier's score of each solution.
        accuracy: held out, if it was measured.

    Example:
        >>> texts = ["Step 1: 2 + 3 = 5 The answer is: 5", "Thank you"]
        >>> seen = observe(1, texts, [12, 2], [False, False], tags=False)
        >>> seen.off_format, seen.no_answer, seen.steps, seen.tokens
        (0.5, 0.5, 1.0, 7.0)
    """
    found = [read_format(text, style, tag) for text in texts]
    return Observation(
        batch,
        off_format=fmean(each.is_off(tags=tags) for each in found),
        no_steps=fmean(each.steps == 0 for each in found),
        no_answer=fmean(each.stated == 0 for each in found),
        steps=fmean(each.steps for each in found),
        tokens=fmean(tokens),
        cut=fmean(cut),
        after_answer=fmean(each.after / max(1, each.characters) for each in found),
        entropy=entropy,
        score=None if scores is None else fmean(scores),
        accuracy=accuracy,
    )
