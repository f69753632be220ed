"""Math-Shepherd's own rows: ``input`` has a tag ``ки`` after each step, ``label`` has ``+`` or ``-`` there.

Signs also stand inside steps, so they are never counted: tag by tag, the text of ``input`` must be found
again in ``label``, and what stands in the tag's place is the label. The rules for rows that are not as they
should be are those of `verifier.data.rows`. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from shepherd.steps import TAG, split

_STEP_1 = re.compile(r"\bstep[ \t]*1[ \t]*:", re.IGNORECASE)
_HEADER_INSIDE = re.compile(r"[\r\n][ \t]*step[ \t]*\d+[ \t]*:", re.IGNORECASE)
_SIGN = re.compile(r"[+-]")


class BadRowError(Exception):
    """A row whose labels cannot be trusted; `kind` is the name it is counted under."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class Labelled(NamedTuple):
    """Question, steps and labels of a row, and the oddities they were repaired from."""

    question: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    oddities: tuple[str, ...]


def parse_math_shepherd(text: str, label: str) -> Labelled:
    r"""Read ``input`` and ``label`` of Math-Shepherd.

    Example:
        >>> parse_math_shepherd("2 + 2? Step 1: 2 + 2 = 4 ки\nStep 2: So 5 ки",
        ...     "2 + 2? Step 1: 2 + 2 = 4 +\nStep 2: So 5 -")[:3]
        ('2 + 2?', ('Step 1: 2 + 2 = 4', 'Step 2: So 5'), (1.0, 0.0))
    """
    tags = _align(text, label)
    labelled = [tag for tag in tags if tag.label is not None]
    if not labelled:
        raise BadRowError("no_labels", "no step has a label" if tags else f"no step tag {TAG!r} in input")
    start, oddities = _solution_start(text, labelled[0].position)
    solution = text[start:]
    question = text[:start].strip()
    if TAG in question:
        oddities.append("question_holds_tag")
    labels: list[float | None] = []
    end = start
    for tag in tags:
        if tag.position < start:
            continue
        if text[end : tag.position].strip():
            labels.append(tag.label)
            oddities += ["unlabelled_tags"] if tag.label is None else []
        else:
            oddities.append("empty_steps")
        end = tag.position + len(TAG)
    if not any(value is not None for value in labels):
        raise BadRowError("no_labels", "no step after the question has a label")
    steps = split(solution).steps
    if len(steps) == len(labels) + 1:
        labels.append(None)
        oddities.append("untagged_steps")
    oddities += ["untagged_steps"] * sum(len(_HEADER_INSIDE.findall(step)) for step in steps)
    if len(_STEP_1.findall(solution)) > 1:
        oddities.append("several_step_1")
    if any(_SIGN.search(step) for step in steps):
        oddities.append("signs_in_steps")
    return Labelled(question, steps, tuple(labels), tuple(oddities))


class _Tag(NamedTuple):
    position: int
    label: float | None


def _align(text: str, label: str) -> list[_Tag]:
    """Position of each tag in `text` and the label that stands for it; the text between must be the same."""
    text, label = text.rstrip(), label.rstrip()
    tags: list[_Tag] = []
    here = there = 0
    pieces = text.split(TAG)
    for i, piece in enumerate(pieces):
        if not label.startswith(piece, there):
            rest = label[there:]
            if piece.startswith(rest):
                raise BadRowError("labels_end_early", _too_few(len(pieces) - 1, tags))
            same = next(k for k, (a, b) in enumerate(zip(piece, rest, strict=False)) if a != b)
            found, expected = rest[same : same + 12], piece[same : same + 12]
            raise BadRowError(
                "misaligned",
                f"label differs from input at character {there + same + 1} (after {len(tags)} tags): "
                f"found {found!r}, expected {expected!r}",
            )
        here, there = here + len(piece), there + len(piece)
        if i == len(pieces) - 1:
            break
        sign = label[there : there + 1]
        if sign in ("+", "-"):
            tags.append(_Tag(here, 1.0 if sign == "+" else 0.0))
            there += 1
        elif label.startswith(TAG, there):
            tags.append(_Tag(here, None))
            there += len(TAG)
        elif not sign:
            raise BadRowError("labels_end_early", _too_few(len(pieces) - 1, tags))
        else:
            raise BadRowError("misaligned", f"tag {len(tags) + 1} has {sign!r} in label, expected + or -")
        here += len(TAG)
    if there < len(label):
        raise BadRowError("misaligned", f"label goes on after input ends: {label[there : there + 12]!r}")
    return tags


def _too_few(expected: int, tags: Sequence[_Tag]) -> str:
    return f"{expected} tags but label ends after {len(tags)} of them"


def _solution_start(text: str, first_label: int) -> tuple[int, list[str]]:
    """Where the solution begins: at the last ``Step 1:`` before the first label."""
    headers = list(_STEP_1.finditer(text))
    if not headers:
        raise BadRowError("no_header", 'no "Step 1:", so the end of the question is unknown')
    before = [header for header in headers if header.start() < first_label]
    # A label before every header stands for a tag of the question: then the first header opens the solution.
    chosen = len(before) - 1 if before else 0
    while chosen > 0 and not text[headers[chosen - 1].end() : headers[chosen].start()].strip():
        chosen -= 1  # "Step 1: Step 1:" is one header, written twice
    oddities = ["question_holds_header"] if chosen > 0 else []
    if not headers[chosen].group().startswith("Step"):
        oddities.append("lower_case_header")
    return headers[chosen].start(), oddities
