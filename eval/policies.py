"""What had to be decided by a stated rule, counted: no answer, no steps, no gold answer, repeats, ties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from eval.grading import GradedProblem
from eval.rules import Ballots, shared_first_places
from shepherd import steps
from shepherd.records import ProblemPool


def count_policies(
    pools: Sequence[ProblemPool],
    graded: Sequence[GradedProblem],
    scores: Sequence[Sequence[Sequence[float]]] | None,
    blocks: Sequence[Ballots],
    rules: Sequence[str],
) -> dict[str, Any]:
    """Count what the policies were applied to.

    Args:
        pools: all problems, those without a gold answer too.
        graded: their grades.
        scores: step scores, which say how many steps a solution has; without them its text does.
        blocks: the ballots that were evaluated.
        rules: names of the rules that were reported.

    Returns:
        Counts by name. ``ties`` is a mapping: for each rule, the problems in which different answers of the
        whole pool share its first place, which makes the accuracy a fraction. What math-verify did is there
            where it did anything.
    """
    texts = [[each.text for each in pool.candidates] for pool in pools]
    if scores is None:
        without_steps = sum(not steps.split(text).steps for mine in texts for text in mine)
    else:
        without_steps = sum(not each for mine in scores for each in mine)
    shared: Counter[str] = Counter()
    for ballots in blocks:
        shared.update(shared_first_places(ballots))
    sizes = [len(mine) for mine in texts]
    mathematics = [each for each in graded if each.by_math_verify]
    return {
        "candidates": sum(sizes),
        "candidates_smallest_pool": min(sizes),
        "candidates_largest_pool": max(sizes),
        "candidates_without_answer": sum(answer is None for each in graded for answer in each.answers),
        "problems_without_any_answer": sum(all(answer is None for answer in each.answers) for each in graded),
        "problems_without_gold": sum(each.gold is None for each in graded),
        "solutions_without_steps": without_steps,
        "duplicate_texts": sum(len(mine) - len(set(mine)) for mine in texts),
        "ties": {rule: int(shared[rule]) for rule in rules if rule in shared},
    } | (
        {
            "problems_by_math_verify": len(mathematics),
            "grader_timeouts": sum(each.timeouts for each in mathematics),
        }
        if mathematics
        else {}
    )
