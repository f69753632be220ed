"""PRM800K's format (arXiv 2305.20050): what people rated, step by step, with the completions not taken.

A line has ``question.problem`` and ``label.steps``; a step has ``completions`` (``text``, ``rating`` of -1, 0
or 1), ``chosen_completion`` (the index of the one the solution went on with, or null) and, where none would
do, ``human_completion``. The rules:

- The solution is the chosen completion of each step, else the human one. It ends at the first step that has
  neither; that step's first completion is then its last step.
- Every other rated completion makes a row of its own: the solution up to it, then the completion. Only its
  own step has a label there, so that no rating is counted twice.
- A rating of 1 is right, -1 wrong. 0 (``neutral_ratings``) is what `neutral` says. The default is good: the
  rater saw no error there, and the paper counts neutral as positive when its verifier scores (appendix F).
- ``human_completions``: written by the rater because nothing offered was right: good.
- ``unrated_completions``: no rating. A step without a label.
- ``flagged_completions``, ``screening_questions``: noted, kept.
- ``bad_problem``: the rater gave the problem up as faulty. Skipped, with its row number.
- ``gave_up``: the rater gave up; what was rated until then is kept.
- ``misfit_choice``: ``chosen_completion`` points to nothing. A bad row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from shepherd.errors import ShepherdError, at
from shepherd.records import StepRow
from shepherd.steps import TAG
from verifier.data.math_shepherd import BadRowError

Neutral = Literal["good", "bad", "null"]

_NEUTRAL: dict[Neutral, float | None] = {"good": 1.0, "bad": 0.0, "null": None}
_Step = tuple[str, float | None]
Rows = list[tuple[StepRow, tuple[str, ...]]]


def parse_prm800k(data: Mapping[str, Any], where: str, line: int, neutral: Neutral = "good") -> Rows:
    """The rows of one line: the solution first, then one a completion that was not taken.

    Raises:
        BadRowError: for a choice that points to nothing, a faulty problem, or no rated step.
        ShepherdError: when a field is missing or of the wrong kind.

    Example:
        >>> said = [{"completions": [{"text": "2 + 2 = 4", "rating": 1}, {"text": "2 + 2 = 5", "rating": -1}],
        ...          "chosen_completion": 0, "human_completion": None}]
        >>> line = {"question": {"problem": "2 + 2?"}, "label": {"steps": said}}
        >>> [(row.steps, row.labels) for row, _ in parse_prm800k(line, "f", 1)]
        [(('2 + 2 = 4',), (1.0,)), (('2 + 2 = 5',), (0.0,))]
    """
    question, label = data["question"].get("problem"), data.get("label")
    if not isinstance(question, str):
        raise at(where, line, 'no "problem" text in "question"; a PRM800K row has question.problem')
    if not isinstance(label, Mapping) or not isinstance(label.get("steps"), list):
        raise at(where, line, 'no "steps" list in "label"; a PRM800K row has label.steps')
    if label.get("finish_reason") == "bad_problem":
        raise BadRowError("bad_problem", "the rater found the problem faulty")
    reader = _Reader(where, line, neutral)
    if label.get("finish_reason") == "give_up":
        reader.oddities.append("gave_up")
    if data.get("is_initial_screening_question") or data.get("is_quality_control_question"):
        reader.oddities.append("screening_questions")
    solution, others = reader.read(label["steps"])
    if not solution:
        raise BadRowError("no_labels", "no step has a completion")
    rows = [solution, *others]
    made = []
    for index, steps in enumerate(rows):
        if all(value is None for _, value in steps):
            if len(rows) == 1:
                raise BadRowError("no_labels", "no completion is rated")
            continue
        row = StepRow(question.strip(), tuple(t for t, _ in steps), tuple(v for _, v in steps), "PRM800K")
        made.append((row, tuple(reader.oddities) if index == 0 else ()))
    return made


class _Reader:
    """Walks the steps of one line."""

    def __init__(self, where: str, line: int, neutral: Neutral) -> None:
        self.where, self.line, self.neutral = where, line, neutral
        self.oddities: list[str] = []

    def read(self, steps: Sequence[Any]) -> tuple[list[_Step], list[list[_Step]]]:
        """The solution, and a list of steps for each completion that was not taken."""
        solution: list[_Step] = []
        others: list[list[_Step]] = []
        for number, step in enumerate(steps):
            if not isinstance(step, Mapping):
                raise self.fault(number, "is not an object")
            offered = [self.completion(each, number) for each in self.listed(step, number)]
            taken, goes_on = self.taken(step, offered, number)
            before: list[_Step] = [(text, None) for text, _ in solution]
            others += [
                [*before, each]
                for index, each in enumerate(offered)
                if index != taken and each[1] is not None
            ]
            if goes_on is None:
                if taken is not None:
                    solution.append(offered[taken])
                break
            solution.append(goes_on)
        return solution, others

    def taken(
        self, step: Mapping[str, Any], offered: Sequence[_Step], number: int
    ) -> tuple[int | None, _Step | None]:
        """Which completion stands in the solution, and the step the solution goes on with (None: it ends)."""
        chosen, human = step.get("chosen_completion"), step.get("human_completion")
        if chosen is not None:
            if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(offered):
                raise BadRowError(
                    "misfit_choice",
                    f"step {number + 1} chose completion {chosen!r:.20} of {len(offered)}",
                )
            return chosen, offered[chosen]
        if isinstance(human, Mapping):
            self.oddities.append("human_completions")
            return None, (self.text(human, number), 1.0)
        return (0 if offered else None), None

    def listed(self, step: Mapping[str, Any], number: int) -> Sequence[Any]:
        """The completions of a step; where only a human one was written there are none."""
        completions = step.get("completions")
        if completions is None:
            return ()
        if not isinstance(completions, list):
            raise self.fault(number, f'has "completions" of {completions!r:.40}, expected a list')
        return completions

    def completion(self, given: object, number: int) -> _Step:
        """Text and label of a completion."""
        if not isinstance(given, Mapping):
            raise self.fault(number, f"has a completion {given!r:.40}, expected an object")
        rating = given.get("rating")
        if given.get("flagged"):
            self.oddities.append("flagged_completions")
        if rating is None:
            self.oddities.append("unrated_completions")
            return self.text(given, number), None
        if isinstance(rating, bool) or rating not in (-1, 0, 1):
            raise self.fault(number, f"has a rating {rating!r:.20}, expected -1, 0, 1 or null")
        if rating == 0:
            self.oddities.append("neutral_ratings")
            return self.text(given, number), _NEUTRAL[self.neutral]
        return self.text(given, number), 1.0 if rating == 1 else 0.0

    def text(self, given: Mapping[str, Any], number: int) -> str:
        """The text of a completion, without a tag that closes it."""
        if not isinstance(given.get("text"), str):
            raise self.fault(number, 'has a completion without "text"')
        return str(given["text"]).strip().removesuffix(TAG).strip()

    def fault(self, number: int, what: str) -> ShepherdError:
        return at(self.where, self.line, f"label.steps[{number}] {what}")
