"""Training rows from files: Math-Shepherd's format, TRL's stepwise format and this project's step rows.

What real rows do (the names are those of the counts), and the rule for each:

- ``signs_in_steps``: ``+`` or ``-`` inside steps. Nothing to do.
- ``question_holds_tag``: the tag stands in the question too. It is no step; the encoder leaves it out.
- ``question_holds_header``: so does ``Step 1:``. The solution begins at the last one before the first label.
- ``lower_case_header``: ``step 1:``. Read as ``Step 1:``, kept as written.
- ``several_step_1``: more than one ``Step 1:`` in the solution. Tags close steps, whatever headers say.
- ``untagged_steps``: a step without a tag belongs to the step that the next tag closes, as in
  `shepherd.steps.split`; at the end it is a step without a label.
- ``unlabelled_tags``: the tag still stands in `label`. A step without a label.
- ``empty_steps``: a tag with no text before it closes nothing; its label is left out.
- ``no_header``: no ``Step 1:``, so nobody knows where the question ends. Skipped, with its row number.
- ``no_labels``: no tag at all, or none with a label. Skipped, with its row number.
- ``labels_end_early``, ``misaligned``, ``tag_inside_step``, ``wrong_count``, ``blank_step``: labels do not
  fit the steps. Never guessed: an error that names the row, or with ``on_bad_row: skip`` skipped and counted.

Broken JSON, a missing field and a field of the wrong kind are always errors. No torch here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from shepherd.assets import PREFIX, asset
from shepherd.errors import ShepherdError, at
from shepherd.files import read_jsonl
from shepherd.records import StepRow
from shepherd.steps import TAG, has_tag
from verifier.data.math_shepherd import BadRowError, parse_math_shepherd

OnBadRow = Literal["error", "skip"]

_FIELDS = (
    "input and label (Math-Shepherd), prompt, completions and labels (TRL stepwise), "
    "or question, steps and labels"
)
# Rows that no rule can read are left out under either setting: nothing in them contradicts itself.
_ALWAYS_SKIPPED = frozenset({"no_header", "no_labels"})


class Skipped(NamedTuple):
    """A row that was left out: its line, the kind of fault and what was found."""

    line: int
    kind: str
    reason: str


@dataclass(slots=True)
class RowCounts:
    """What a file held: rows read, rows kept, repairs by name, rows left out with their line and reason."""

    source: str = ""
    read: int = 0
    kept: int = 0
    duplicates: int = 0
    oddities: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Counts alone; the skipped rows by kind."""
        return {
            "read": self.read,
            "kept": self.kept,
            "duplicates": self.duplicates,
            "oddities": dict(sorted(self.oddities.items())),
            "skipped": dict(sorted(Counter(row.kind for row in self.skipped).items())),
        }


class Parsed(NamedTuple):
    """A row as read, and the oddities it was repaired from."""

    row: StepRow
    oddities: tuple[str, ...]


def read_rows(
    source: str, *, on_bad_row: OnBadRow = "error", dedup: bool = False, limit: int | None = None
) -> tuple[list[StepRow], RowCounts]:
    """Read training rows from a file, or the packaged ones (``"embedded"``).

    Args:
        source: path of a JSON-lines file (``.gz`` and ``.xz`` too), ``"-"``, or ``"embedded"``.
        on_bad_row: what to do with labels that do not fit the steps.
        dedup: keep only the first of rows with the same question and steps.
        limit: stop after this many rows kept.

    Raises:
        ShepherdError: with file and line.
    """
    path = rows_path(source)
    counts = RowCounts(source)
    rows: list[StepRow] = []
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for line, data in read_jsonl(path):
        if limit is not None and len(rows) >= limit:
            break
        counts.read += 1
        try:
            row, oddities = parse(data, path, line)
        except BadRowError as bad:
            counts.skipped.append(Skipped(line, bad.kind, bad.reason))
            continue
        counts.oddities.update(oddities)
        if dedup:
            key = (row.question, row.steps)
            if key in seen:
                counts.duplicates += 1
                continue
            seen.add(key)
        rows.append(row)
    counts.kept = len(rows)
    if on_bad_row == "error":
        _refuse(path, [row for row in counts.skipped if row.kind not in _ALWAYS_SKIPPED])
    if not rows:
        raise ShepherdError(f"{path}: no usable row among {counts.read} ({counts.to_json()['skipped']})")
    return rows, counts


def rows_path(source: str) -> str:
    """The file of ``"embedded"`` (the packaged rows) and of ``"embedded:<asset>"``; else as given."""
    if source == "embedded":
        return str(asset("rows"))
    return str(asset(source.removeprefix(PREFIX))) if source.startswith(PREFIX) else source


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


def _checked(row: StepRow, oddities: Iterable[str]) -> Parsed:
    """What holds for a row of any format."""
    if not row.steps or all(label is None for label in row.labels):
        raise BadRowError("no_labels", "no steps" if not row.steps else "no step has a label")
    if len(row.steps) != len(row.labels):
        raise BadRowError("wrong_count", f"{len(row.steps)} steps but {len(row.labels)} labels")
    if has_tag(row.steps):
        raise BadRowError("tag_inside_step", f"a step holds the tag {TAG!r} in its own text")
    if not all(step.strip() for step in row.steps):
        raise BadRowError("blank_step", "a step has no text")
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


def _refuse(path: str, bad: list[Skipped]) -> None:
    if not bad:
        return
    first = bad[0]
    more = f"; {len(bad) - 1} more rows like it" if len(bad) > 1 else ""
    raise at(
        path,
        first.line,
        f"{first.reason} ({first.kind}){more}; mend them, or leave them out with --set on_bad_row=skip",
    )


def describe(counts: RowCounts) -> Iterator[str]:
    """Lines for a log: totals, repairs, and every row left out."""
    yield f"{counts.source}: {counts.read} rows read, {counts.kept} kept, {counts.duplicates} duplicates"
    for kind, number in sorted(counts.oddities.items()):
        yield f"{counts.source}: {kind}: {number}"
    for row in counts.skipped:
        yield f"{counts.source}:{row.line}: skipped ({row.kind}): {row.reason}"
