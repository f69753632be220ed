"""Training rows from files: Math-Shepherd, TRL stepwise, PRM800K and this project's step rows.

Files are read as a stream: of a row there is only what training needs, equal questions and labels are one
object, and repeated rows are known by their hashes. A generated file of Math-Shepherd's 444,655 rows took
0.6 GiB that way. The rows of a large file are kept parsed (`verifier.data.cache`); a training streams them
into columns instead and holds none of them as objects (`verifier.data.corpus`).

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

The oddities of PRM800K are in `verifier.data.prm800k`.

Broken JSON, a missing field and a field of the wrong kind are always errors. No torch here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shepherd.console import Progress, progress
from shepherd.errors import ShepherdError, at
from shepherd.files import read_jsonl
from shepherd.problems.files import read_parquet
from shepherd.records import StepRow
from verifier.data import cache
from verifier.data.math_shepherd import BadRowError
from verifier.data.parse import parse_line
from verifier.data.prm800k import Neutral
from verifier.data.sources import locate

OnBadRow = Literal["error", "skip"]

LARGE_BYTES = 32 << 20
"""A file from this size on shows its progress and is kept parsed."""

_MIB = 1 << 20
# Rows that no rule can read are left out under either setting: nothing in them contradicts itself.
_ALWAYS_SKIPPED = frozenset({"no_header", "no_labels", "bad_problem"})


class Skipped(NamedTuple):
    """A row that was left out: its line, the kind of fault and what was found."""

    line: int
    kind: str
    reason: str


@dataclass(slots=True)
class RowCounts:
    """What a file held.

    Attributes:
        source: its name.
        read: lines read.
        kept: rows kept; a line of PRM800K can give several.
        duplicates: rows left out because an earlier one has the same question and steps.
        oddities: repairs by name.
        skipped: lines left out, with their reason.
        questions: each question of the kept rows and the line it first stands on.
    """

    source: str = ""
    read: int = 0
    kept: int = 0
    duplicates: int = 0
    oddities: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)
    questions: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Counts alone; the skipped rows by kind."""
        return {
            "read": self.read,
            "kept": self.kept,
            "duplicates": self.duplicates,
            "oddities": dict(sorted(self.oddities.items())),
            "skipped": dict(sorted(Counter(row.kind for row in self.skipped).items())),
        }


def read_rows(
    source: str,
    *,
    on_bad_row: OnBadRow = "error",
    dedup: bool = False,
    limit: int | None = None,
    neutral: Neutral = "good",
) -> tuple[list[StepRow], RowCounts]:
    """Read training rows.

    Args:
        source: what `verifier.data.sources.locate` knows: a file (JSON lines, ``.gz``, ``.xz``, Parquet),
            ``"-"``, ``"embedded"``, or a published set by its name.
        on_bad_row: what to do with labels that do not fit the steps.
        dedup: keep only the first of rows with the same question and steps.
        limit: stop after this many rows kept.
        neutral: label of a PRM800K step rated 0.

    Raises:
        ShepherdError: with file and line.
    """
    counts = RowCounts(source)
    shared = _Shared()
    found = iter_rows(source, counts, on_bad_row=on_bad_row, dedup=dedup, limit=limit, neutral=neutral)
    return [shared.slim(row) for row in found], counts


def iter_rows(
    source: str,
    counts: RowCounts,
    *,
    on_bad_row: OnBadRow = "error",
    dedup: bool = False,
    limit: int | None = None,
    neutral: Neutral = "good",
    keep_parsed: bool = True,
) -> Iterator[StepRow]:
    """Yield training rows one by one while the counts grow; arguments and errors as for `read_rows`.

    Args:
        counts: whole when the last row has been taken.
        keep_parsed: keep a large file's parsed rows, for whom nobody else does.
    """
    seen: set[bytes] = set()
    files = locate(source)
    for path in files:
        if limit is not None and counts.kept >= limit:
            break
        rows = _rows_of(path, neutral, counts, is_whole=limit is None, keep_parsed=keep_parsed)
        for line, row in rows:
            if dedup:
                key = _digest(row)
                if key in seen:
                    counts.duplicates += 1
                    continue
                seen.add(key)
            counts.kept += 1
            counts.questions.setdefault(row.question, line)
            yield row
            if limit is not None and counts.kept >= limit:
                break
        if on_bad_row == "error":
            refuse_bad_rows(path, counts.skipped)
    if not counts.kept:
        where = files[0] if len(files) == 1 else source
        raise ShepherdError(f"{where}: no usable row among {counts.read} ({counts.to_json()['skipped']})")


class _Shared:
    """One object for equal questions, labels and names: most of what rows say is said many times."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._labels: dict[tuple[float | None, ...], tuple[float | None, ...]] = {}

    def slim(self, row: StepRow) -> StepRow:
        """The same row in less memory."""
        question = self._texts.setdefault(row.question, row.question)
        source = self._texts.setdefault(row.source, row.source)
        labels = self._labels.setdefault(row.labels, row.labels)
        return StepRow(question, row.steps, labels, source, row.id)


def _digest(row: StepRow) -> bytes:
    """What tells rows apart in 16 bytes; lengths keep the parts apart."""
    parts = (row.question, *row.steps)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _rows_of(
    path: str, neutral: Neutral, counts: RowCounts, *, is_whole: bool, keep_parsed: bool
) -> Iterator[tuple[int, StepRow]]:
    """Rows of one file with their lines, from the cache if they are there; the counts grow as they come."""
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    if size < LARGE_BYTES or not is_whole:
        yield from _parse_file(path, neutral, counts)
        return
    place = cache.place_of(path, neutral)
    kept = cache.read(place)
    if kept is not None:
        counts.read += kept.counts["read"]
        counts.oddities.update(kept.counts["oddities"])
        counts.skipped += [Skipped(*each) for each in kept.counts["skipped"]]
        yield from kept.rows
        return
    mine = RowCounts(path)
    keeps = cache.Writer(place) if keep_parsed else nullcontext()
    with keeps as writer, progress(f"reading {Path(path).name}", size // _MIB, "MiB") as bar:
        for line, row in _parse_file(path, neutral, mine, bar):
            if writer is not None:
                writer.add(line, row)
            yield line, row
        if writer is not None:
            skipped = [*map(list, mine.skipped)]
            writer.finish({"read": mine.read, "oddities": dict(mine.oddities), "skipped": skipped})
    counts.read += mine.read
    counts.oddities.update(mine.oddities)
    counts.skipped += mine.skipped


def _parse_file(
    path: str, neutral: Neutral, counts: RowCounts, bar: Progress | None = None
) -> Iterator[tuple[int, StepRow]]:
    """Parse line by line; what is skipped is counted where it stands."""
    for line, data in _lines(path, bar):
        counts.read += 1
        try:
            parsed = parse_line(data, path, line, neutral)
        except BadRowError as bad:
            counts.skipped.append(Skipped(line, bad.kind, bad.reason))
            continue
        for row, oddities in parsed:
            counts.oddities.update(oddities)
            yield line, row


def _lines(path: str, bar: Progress | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows as they stand in the file; a bar is told the megabytes."""
    if path.endswith(".parquet"):
        return read_parquet(Path(path))
    return read_jsonl(path, on_bytes=None if bar is None else lambda count: bar.advance(count / _MIB))


def refuse_bad_rows(path: str, skipped: Sequence[Skipped]) -> None:
    """Stop at rows whose labels do not fit their steps; those that no rule can read are only counted.

    Raises:
        ShepherdError: naming the first of them and how many more there are.
    """
    bad = [row for row in skipped if row.kind not in _ALWAYS_SKIPPED]
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
