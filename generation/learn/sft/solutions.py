r"""Right solutions to learn from, in the step format that the verifier reads.

``Step 1: …\nStep 2: … The answer is: 72``. A right solution is a step row whose labels are all 1, so that the
rows of `shepherd train-prm` will do; one with a wrong step is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generation.learn.sft.config import EMBEDDED_ROWS, SftConfig
from shepherd import problems
from shepherd.answers import extract
from shepherd.errors import ShepherdError, at
from shepherd.records import StepRow
from shepherd.steps import TAG, render, split

_FIELDS = 'a row needs "question" and one of "answer" (GSM8K, ending in #### 72), "solution", "steps"'
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_GSM8K_END = re.compile(r"\n?[ \t]*####[ \t]*(.*)\Z", re.DOTALL)


@dataclass(slots=True)
class Solved:
    """Right solutions with what was passed over.

    Attributes:
        rows: questions and steps, every step right.
        read: rows read.
        with_wrong_steps: rows of steps with labels, one of them below 1 or unknown.
        questions: each question of the kept rows and the line it first stands on.
    """

    rows: list[StepRow] = field(default_factory=list)
    read: int = 0
    with_wrong_steps: int = 0
    questions: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """For logs and results."""
        return {"read": self.read, "kept": len(self.rows), "with_wrong_steps": self.with_wrong_steps}


def read_solved(config: SftConfig) -> Solved:
    """Read the right solutions a config names.

    Raises:
        ShepherdError: with file and line of the first row that cannot be used, or where there is none.
    """
    found = Solved()
    if config.data == "embedded":
        found.rows = _embedded(config)
        found.read = len(found.rows)
        found.questions = {row.question: line for line, row in enumerate(found.rows, start=1)}
        return found
    for line, data in problems.read_raw(config.data, "train"):
        if config.limit is not None and len(found.rows) >= config.limit:
            break
        found.read += 1
        row = parse_solved(data, config.data, line, keep_annotations=config.annotations == "keep")
        if any(label != 1 for label in row.labels):
            found.with_wrong_steps += 1
        else:
            found.rows.append(row)
            found.questions.setdefault(row.question, line)
    if not found.rows:
        raise ShepherdError(f"{config.data}: no right solution among {found.read} rows; {_FIELDS}")
    return found


def parse_solved(data: Mapping[str, Any], where: str, line: int, *, keep_annotations: bool) -> StepRow:
    r"""Read one solved problem of any known shape; its last step states the answer.

    Args:
        data: ``question`` with ``answer`` (GSM8K), ``solution`` (and perhaps ``answer``) or ``steps`` (and
            perhaps ``labels`` and ``answer``).
        where: file, for errors.
        line: its line.
        keep_annotations: keep calculator notes.

    Example:
        >>> row = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24 in May.\n24+48 = 72\n#### 72"}
        >>> parse_solved(row, "train.jsonl", 1, keep_annotations=False).steps
        ('48/2 = 24 in May.', '24+48 = 72 The answer is: 72')
    """
    question = _text(data, "question", where, line)
    answer = None if data.get("answer") is None else str(data["answer"])
    labels: Sequence[Any] | None = None
    if isinstance(data.get("steps"), list):
        steps = tuple(str(step) for step in data["steps"])
        labels = data.get("labels")
    elif "solution" in data:
        steps = split(_text(data, "solution", where, line)).steps
    elif answer is not None:
        steps, answer = _gsm8k(answer, where, line)
    else:
        raise at(where, line, f'no "answer", "solution" or "steps" field; {_FIELDS}')
    steps = tuple(_cleaned(step, keep_annotations) for step in steps)
    if not steps or not all(steps):
        raise at(where, line, f"no solution, or a blank step; {_FIELDS}")
    row = {"question": question, "steps": list(steps), "labels": [1.0] * len(steps)}
    parsed = StepRow.from_json(row if labels is None else {**row, "labels": labels}, where, line)
    return _with_answer(parsed, answer, where, line)


def solution_text(row: StepRow, *, tags: bool) -> str:
    r"""The solution as it is learnt.

    Example:
        >>> solution_text(StepRow("?", ("2 + 3 = 5", "5 * 2 = 10 The answer is: 10"), (1.0, 1.0)), tags=False)
        'Step 1: 2 + 3 = 5\nStep 2: 5 * 2 = 10 The answer is: 10'
    """
    rendered = render(row.steps)
    return rendered if tags else rendered.replace(f" {TAG}", "")


def _with_answer(row: StepRow, answer: str | None, where: str, line: int) -> StepRow:
    """State the answer at the end of the last step, where the steps do not state it themselves."""
    if extract("\n".join(row.steps)) is not None:
        return row
    if answer is None or extract(answer, "gold") is None:
        raise at(
            where, line, 'the solution states no answer (as "The answer is: 72"), and no "answer" has one'
        )
    last = f"{row.steps[-1]} The answer is: {answer.strip()}"
    return StepRow(row.question, (*row.steps[:-1], last), row.labels)


def _gsm8k(text: str, where: str, line: int) -> tuple[tuple[str, ...], str]:
    """The lines of a GSM8K answer, and what stands behind ``####``."""
    end = _GSM8K_END.search(text)
    if end is None:
        raise at(where, line, '"answer" does not end in a line "#### 72"; give the solution as "solution"')
    steps = tuple(each.strip() for each in text[: end.start()].split("\n") if each.strip())
    return steps, end[1].strip()


def _cleaned(step: str, keep_annotations: bool) -> str:
    step = step.replace(TAG, "")
    return (step if keep_annotations else _ANNOTATION.sub("", step)).strip()


def _embedded(config: SftConfig) -> list[StepRow]:
    from generation.embedded.world import generate_problems

    drawn = generate_problems("train", config.limit or EMBEDDED_ROWS, config.seed)
    return [StepRow(each.problem.question, each.solution, (1.0,) * len(each.solution)) for each in drawn]


def _text(data: Mapping[str, Any], key: str, where: str, line: int) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise at(where, line, f'"{key}" must be text, found {value!r:.40}; {_FIELDS}')
    return value
