"""One training row of any known format, told apart by its fields; the rules stand in `verifier.data.rows`.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from shepherd.errors import at
from shepherd.records import StepRow
from shepherd.steps import TAG, has_tag
from verifier.data.math_shepherd import BadRowError, parse_math_shepherd
from verifier.data.prm800k import Neutral, parse_prm800k

_FIELDS = (
    "input and label (Math-Shepherd), prompt, completions and labels (TRL stepwise), question and label with "
    "steps (PRM800K), or question, steps and labels"
)


class Parsed(NamedTuple):
    """A row as read, and the oddities it was repaired from."""

    row: StepRow
    oddities: tuple[str, ...]


def parse_line(data: Mapping[str, Any], where: str, line: int, neutral: Neutral = "good") -> list[Parsed]:
    """The rows of one line: one, but for PRM800K, where each completion that was not taken adds one.

    Raises:
        BadRowError: when labels do not fit the steps.
        ShepherdError: when a field is missing or of the wrong kind.
    """
    if isinstance(data.get("question"), Mapping):
        read = parse_prm800k(data, where, line, neutral)
        return [_checked(row, oddities) for row, oddities in read]
    return [parse(data, where, line)]


def parse(data: Mapping[str, Any], where: str, line: int) -> Parsed:
    """Read one row of any of the three formats, told apart by its fields.

    Raises:
        BadRowError: when labels do not fit the steps.
        ShepherdError: when a field is missing or of the wrong kind.
    """
    if "input" in data or "label" in data:
        text, label = (_text(data, key, where, line) for key in ("input", "label"))
        question, steps, labels, oddities = parse_math_shepherd(text, label)
        return _checked(StepRow(question, steps, labels, source=str(data.get("task") or "")), oddities)
    if "prompt" in data or "completions" in data:
        return _parse_stepwise(data, where, line)
    return _parse_step_row(data, where, line)


def _parse_step_row(data: Mapping[str, Any], where: str, line: int) -> Parsed:
    """A row of this project; other numbers of steps and labels are a bad row, not a broken file."""
    missing = ", ".join(f'"{key}"' for key in ("question", "steps", "labels") if key not in data)
    if missing:
        raise at(where, line, f"no {missing} field; a row needs {_FIELDS}")
    steps, labels = data["steps"], data["labels"]
    if isinstance(steps, list) and isinstance(labels, list) and len(steps) != len(labels):
        raise BadRowError("wrong_count", f"{len(steps)} steps but {len(labels)} labels")
    return _checked(StepRow.from_json(data, where, line), ())


def _parse_stepwise(data: Mapping[str, Any], where: str, line: int) -> Parsed:
    """TRL stepwise: a tag that closes a completion is taken off, soft labels are kept."""
    prompt = _text(data, "prompt", where, line)
    for key in ("completions", "labels"):
        if key not in data:
            raise at(where, line, f'no "{key}" field; a TRL stepwise row has prompt, completions and labels')
        if not isinstance(data[key], list):
            raise at(where, line, f'"{key}" must be a list, found {data[key]!r:.40}')
    completions, labels = data["completions"], data["labels"]
    if len(completions) != len(labels):
        raise BadRowError("wrong_count", f"{len(completions)} completions but {len(labels)} labels")
    steps = []
    for index, completion in enumerate(completions):
        if not isinstance(completion, str):
            raise at(where, line, f"completions[{index}] must be text, found {completion!r:.40}")
        steps.append(completion.strip().removesuffix(TAG).strip())
    for index, label in enumerate(labels):
        if label is not None and not _is_label(label):
            raise at(
                where, line, f"labels[{index}] must be true, false, null or in [0, 1], found {label!r:.40}"
            )
    values = tuple(None if label is None else float(label) for label in labels)
    return _checked(StepRow(question=prompt.strip(), steps=tuple(steps), labels=values), ())


def check_row(row: StepRow) -> None:
    """Refuse what no row of any format may be.

    Raises:
        BadRowError: for no label at all, labels that are not as many as steps, a tag in a step, a blank step.
    """
    if not row.steps or all(label is None for label in row.labels):
        raise BadRowError("no_labels", "no steps" if not row.steps else "no step has a label")
    if len(row.steps) != len(row.labels):
        raise BadRowError("wrong_count", f"{len(row.steps)} steps but {len(row.labels)} labels")
    if has_tag(row.steps):
        raise BadRowError("tag_inside_step", f"a step holds the tag {TAG!r} in its own text")
    if not all(step.strip() for step in row.steps):
        raise BadRowError("blank_step", "a step has no text")


def _checked(row: StepRow, oddities: Iterable[str]) -> Parsed:
    """A row that is as it must be."""
    check_row(row)
    found = list(oddities)
    if TAG in row.question and "question_holds_tag" not in found:
        found.append("question_holds_tag")
    return Parsed(row, tuple(found))


def _is_label(value: object) -> bool:
    if isinstance(value, bool):
        return True
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1


def _text(data: Mapping[str, Any], key: str, where: str, line: int) -> str:
    if key not in data:
        raise at(where, line, f'no "{key}" field; a row needs {_FIELDS}')
    value = data[key]
    if not isinstance(value, str):
        raise at(where, line, f'"{key}" must be text, found {value!r:.40}')
    return value
