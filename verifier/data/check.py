"""What a file of training data holds, before anything is trained on it: facts for `shepherd data check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shepherd import problems
from shepherd.console import progress
from shepherd.problems.files import find_file, read_objects
from shepherd.problems.shapes import question_of
from verifier.data.contaminated import Contamination, compare, default_evaluation
from verifier.data.prm800k import Neutral
from verifier.data.rows import RowCounts, read_rows
from verifier.data.sources import locate
from verifier.tags import text_of

LIMITS = (512, 1024)
"""Lengths in tokens beyond which rows are counted."""

GOOD = 0.5
"""A soft label counts as positive from this value on."""

_PERCENTILES = (50, 90, 99, 100)
_ENCODED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read: the texts a model would read, each question with its line, and the facts of the file."""

    texts: Sequence[str]
    questions: Mapping[str, int]
    facts: dict[str, Any]


def check(
    source: str,
    *,
    tokenizers: Sequence[str] = (),
    against: Sequence[str] = (),
    neutral: Neutral = "good",
) -> dict[str, Any]:
    """Count what a source of step rows, or of problems with solutions, holds.

    Args:
        source: see `verifier.data.sources.locate`; or a file or folder of problems (its train split), or
            ``"gsm8k"`` (train).
        tokenizers: names or folders; lengths are counted in the tokens of each.
        against: evaluation problems; if none are named, those of `default_evaluation` that are at hand.
        neutral: label of a PRM800K step rated 0.

    Returns:
        The facts by name, as ``--json`` prints them.

    Raises:
        ShepherdError: with file and line, for what cannot be read at all.
    """
    read = _read_problems(source) if _holds_problems(source) else _read_steps(source, neutral)
    compared = compare(read.questions, against or default_evaluation(source), optional=not against)
    return {
        "source": source,
        **read.facts,
        "characters": _summary(np.array([len(text) for text in read.texts]), ()),
        "tokens": {name: _summary(_tokens(name, read.texts), LIMITS) for name in tokenizers},
        "contamination": _contamination(compared, read.questions),
    }


def _holds_problems(source: str) -> bool:
    """Problems have no labelled steps; the first row says which it is."""
    if source == problems.GSM8K or Path(source).is_dir():
        return True
    if not Path(source).is_file():
        return False
    _, first = next(read_objects(Path(source)), (0, {"steps": None}))
    is_steps = {"input", "label"} <= first.keys() or isinstance(first.get("question"), Mapping)
    return not (is_steps or {"steps", "labels", "completions"} & first.keys())


def _read_steps(source: str, neutral: Neutral) -> _Read:
    """Step rows, each once, and what was left out."""
    rows, counts = read_rows(source, on_bad_row="skip", dedup=True, neutral=neutral)
    labels = Counter(label for row in rows for label in row.labels if label is not None)
    facts = {
        "kind": "step rows",
        "files": locate(source),
        "lines": counts.read,
        "rows": counts.kept,
        "duplicates": counts.duplicates,
        "questions": len(counts.questions),
        "steps": sum(len(row.steps) for row in rows),
        "labelled_steps": labels.total(),
        "share_positive": sum(n for label, n in labels.items() if label >= GOOD) / labels.total(),
        "soft_labels": sum(n for label, n in labels.items() if label not in (0.0, 1.0)),
        "sources": dict(Counter(row.source for row in rows).most_common()),
        "skipped": _skipped(counts),
        "oddities": dict(sorted(counts.oddities.items())),
    }
    return _Read([text_of(row.question, row.steps) for row in rows], counts.questions, facts)


def _skipped(counts: RowCounts) -> dict[str, list[dict[str, Any]]]:
    """Every line that was left out, by the kind of its fault, the most frequent first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in counts.skipped:
        found.setdefault(row.kind, []).append({"line": row.line, "reason": row.reason})
    return dict(sorted(found.items(), key=lambda each: (-len(each[1]), each[0])))


def _read_problems(source: str) -> _Read:
    """Problems, as for a supervised fine-tuning: a question and what follows it."""
    texts: list[str] = []
    questions: dict[str, int] = {}
    where = source if source == problems.GSM8K else str(find_file(source, "train"))
    for line, row in problems.read_raw(source, "train"):
        question = question_of(row, where, line)
        questions.setdefault(question, line)
        texts.append(f"{question} {row.get('solution') or row.get('answer') or ''}")
    if not texts:
        raise problems.no_lines(where)
    facts = {
        "kind": "problems",
        "files": [where],
        "lines": len(texts),
        "rows": len(texts),
        "duplicates": len(texts) - len(questions),
        "questions": len(questions),
    }
    return _Read(texts, questions, facts)


def _tokens(name: str, texts: Sequence[str]) -> NDArray[np.int64]:
    """Length of each text in tokens, the one that opens a text included; shape ``(len(texts),)``."""
    from verifier.model import load_tokenizer  # torch takes seconds to import

    tokenizer = load_tokenizer(name)
    lengths = np.empty(len(texts), dtype=np.int64)
    opens = int(tokenizer.bos_token_id is not None)
    with progress(f"tokens of {name}", len(texts), "rows") as bar:
        for start in range(0, len(texts), _ENCODED_AT_ONCE):
            part = list(texts[start : start + _ENCODED_AT_ONCE])
            encoded = tokenizer(part, add_special_tokens=False, return_attention_mask=False, verbose=False)
            lengths[start : start + len(part)] = [len(ids) + opens for ids in encoded["input_ids"]]
            bar.advance(len(part))
    return lengths


def _summary(lengths: NDArray[np.int64], limits: Sequence[int]) -> dict[str, int]:
    """Percentiles (those that occur), and how many are longer than each limit."""
    found = {f"p{at}": int(np.percentile(lengths, at, method="inverted_cdf")) for at in _PERCENTILES[:-1]}
    found["max"] = int(lengths.max())
    return found | {f"over_{limit}": int((lengths > limit).sum()) for limit in limits}


def _contamination(compared: Contamination, lines: Mapping[str, int]) -> dict[str, Any]:
    """Counts, and every match with the line it stands on."""
    found = compared.to_json()
    for source, counts in found["against"].items():
        counts["matches"] = [
            {"line": lines[each.question], **each._asdict()}
            for each in (*compared.matches[source], *compared.other_numbers[source])
        ]
    return found
