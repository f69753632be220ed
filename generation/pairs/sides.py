"""A candidate as one side of a pair: the prompt it was sampled from, and the text that is learnt after it.

Prompt and side are the very characters that the generator read and wrote. Between a prompt that is no chat
and a solution stands a blank, which belongs to the solution; where a pool lost it (a server strips its
texts), it is put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.grading import GradedProblem
from eval.scores import Aggregation, solution_scores
from generation.engines.protocol import Prompt
from generation.pairs.pair import PromptText
from generation.prompts import blank_after
from shepherd.records import Candidate, ProblemPool, ScoreLine


def as_prompt(prompt: Prompt) -> PromptText:
    """What a generator is given, as pairs keep it: a text, or the turns of a chat.

    Example:
        >>> as_prompt(Prompt("p1", "2 + 2?", chat=True, system="Be brief."))
        (('system', 'Be brief.'), ('user', '2 + 2?'))
    """
    if not prompt.chat:
        return prompt.text
    return tuple((turn["role"], turn["content"]) for turn in prompt.messages())


def opened(prompt: Prompt, text: str) -> str:
    """A candidate's text as it follows its prompt: with the blank between them, where there is none.

    Example:
        >>> opened(Prompt("p1", "2 + 2?"), "It is 4."), opened(Prompt("p1", "2 + 2?"), " It is 4.")
        (' It is 4.', ' It is 4.')
    """
    if prompt.chat or not text or text[0].isspace():
        return text
    return blank_after(prompt.text) + text


def ends(candidate: Candidate) -> bool:
    """Did the generator end there itself? Where nobody knows, it did."""
    return candidate.finish_reason in (None, "stop")


@dataclass(frozen=True, slots=True)
class Member:
    """One candidate of a problem, as pairs are made of it.

    Attributes:
        index: its place among the candidates.
        id: as ``round-1/p17/3``.
        text: what is learnt after the prompt.
        ends: whether its end is learnt too.
        tokens: its length where it is known; None for none.
        generator: whose tokens these are.
        step_scores: one a step, each in [0, 1].
        score: of the solution; 0 without steps.
        answered: whether it has an answer.
        right: whether that is the gold answer.
    """

    index: int
    id: str
    text: str
    ends: bool
    tokens: int | None
    generator: str
    step_scores: tuple[float, ...]
    score: float
    answered: bool
    right: bool


def members(
    pool: ProblemPool,
    scores: ScoreLine,
    graded: GradedProblem,
    *,
    prompt: Prompt,
    aggregation: Aggregation,
    origin: str,
) -> list[Member]:
    """The candidates of a problem with all that decides how they are paired, in the pool's order.

    Args:
        pool: the problem and its candidates.
        scores: their step scores, a list a candidate.
        graded: their answers.
        prompt: what they were sampled from.
        aggregation: from step scores to the solution score.
        origin: what candidate ids begin with, as ``round-1``.

    Raises:
        ValueError: where the three do not belong to one problem, or have not one entry a candidate.
    """
    problem = pool.problem.id
    sizes: Sequence[int] = (len(pool.candidates), len(scores.step_scores), len(graded.answers))
    if len(set(sizes)) > 1 or not problem == scores.id == graded.id:
        raise ValueError(
            f"pool {problem!r}, scores {scores.id!r} and grades {graded.id!r} of {sizes} candidates"
        )
    solved = solution_scores(scores.step_scores, aggregation)
    return [
        Member(
            index=index,
            id=f"{origin}/{problem}/{index}",
            text=opened(prompt, each.text),
            ends=ends(each),
            tokens=each.tokens,
            generator=each.generator,
            step_scores=scores.step_scores[index],
            score=float(solved[index]),
            answered=graded.answers[index] is not None,
            right=graded.right[index],
        )
        for index, each in enumerate(pool.candidates)
    ]
