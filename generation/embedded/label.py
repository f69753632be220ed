"""Training rows from candidates: each distinct solution of a problem, labelled by the exact checker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from generation.embedded.checker import Checker
from generation.embedded.world import EmbeddedProblem
from shepherd import steps as step_text
from shepherd.answers import extract
from shepherd.records import Candidate, StepRow


def is_right(problem: EmbeddedProblem, steps: Sequence[str]) -> bool:
    """Does a solution end in the problem's answer? None at all is not it."""
    found = extract(step_text.render(steps), "shepherd")
    return found is not None and found == problem.answer.value


def label_candidates(problem: EmbeddedProblem, candidates: Iterable[Candidate]) -> Iterator[StepRow]:
    """Label the steps of each distinct candidate of a problem.

    Args:
        problem: an embedded problem.
        candidates: its candidates; a text met before and one without steps give no row.

    Yields:
        Rows with hard labels, 1.0 for a right step and 0.0 for a wrong one, and the generator as source.
    """
    checker = Checker.of(problem)
    seen: set[tuple[str, ...]] = set()
    for candidate in candidates:
        steps = step_text.split(candidate.text).steps
        if not steps or steps in seen:
            continue
        seen.add(steps)
        labels = tuple(float(verdict.right) for verdict in checker.check(steps))
        yield StepRow(problem.problem.question, steps, labels, candidate.generator, problem.problem.id)
