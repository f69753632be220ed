"""Step pairs: two candidates that say the same for some steps, and then differ.

What both say before is part of the prompt, and what is learnt is one step (Step-DPO, arXiv 2406.18629, has it
written by another model; here both were sampled). Prompt and step are the candidates' own characters: a step
keeps the tag and the line end that close it, and the blanks that open it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

from generation.pairs.rules import Compared, Text, compare_whole
from generation.pairs.sides import Member
from shepherd.steps import Solution, split


def pieces(solution: Solution) -> list[str]:
    r"""Cut a solution into one text a step, which together are the solution.

    Between two steps the cut is behind the line end, or where there is none behind the tag: blanks belong to
    the step they open, as a solution's first blank does, and a tokenizer merges a line end with what stands
    before it.

    Example:
        >>> pieces(split(" Step 1: 2 + 3 = 5 ки\n Step 2: 5 * 2 = 10 ки"))
        [' Step 1: 2 + 3 = 5 ки\n', ' Step 2: 5 * 2 = 10 ки']
        >>> pieces(split("2 + 3 = 5 ки 5 * 2 = 10 ки"))
        ['2 + 3 = 5 ки', ' 5 * 2 = 10 ки']
    """
    found: list[str] = []
    opening = solution.gaps[0]
    for number, (step, gap) in enumerate(zip(solution.steps, solution.gaps[1:], strict=True), 1):
        is_last = number == len(solution.steps)
        at = len(gap) if is_last else gap.rfind("\n") + 1 or len(gap.rstrip())
        found.append(opening + step + gap[:at])
        opening = gap[at:]
    return found


def compare_steps(found: Iterable[Member]) -> list[Compared]:
    """Every two candidates of a problem at the first step in which they differ, in the order of indices."""
    cut = [_Cut(member) for member in found]
    return [_compare(*two) for two in combinations(cut, 2)]


class _Cut:
    """A candidate and its steps, with their separators and without."""

    def __init__(self, member: Member) -> None:
        solution = split(member.text)
        self.member, self.steps, self.pieces = member, solution.steps, pieces(solution)
        if len(self.steps) != len(member.step_scores):
            raise ValueError(
                f"{member.id}: {len(self.steps)} steps, but {len(member.step_scores)} step scores"
            )

    def text(self, step: int) -> Text:
        """The step of that number."""
        is_last = step == len(self.steps) - 1
        size = len(self.steps[step])
        ends = is_last and self.member.ends
        return Text(self.pieces[step], self.member.step_scores[step], ends, is_last, size)


def _compare(one: _Cut, other: _Cut) -> Compared:
    """The two at their first difference, the better step first."""
    step = next(
        (at for at, (a, b) in enumerate(zip(one.pieces, other.pieces, strict=False)) if a != b),
        min(len(one.pieces), len(other.pieces)),
    )
    shorter = min(len(one.steps), len(other.steps))
    if step >= shorter or one.steps[step] == other.steps[step]:
        # One ends here and the other goes on; or nothing differs but what stands between the steps.
        stops = len(one.steps) != len(other.steps) and step >= shorter - 1
        whole = compare_whole(one.member, other.member)
        return replace(whole, fault="no_next_step" if stops else "identical")
    first, second = one.text(step), other.text(step)
    prefix = "".join(one.pieces[:step])
    if second.score > first.score:
        return Compared(other.member, one.member, second, first, prefix, step)
    return Compared(one.member, other.member, first, second, prefix, step)
