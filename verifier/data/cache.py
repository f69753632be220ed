"""Parsed rows of a large file, kept under the hash of its content: the second start reads them in seconds.

One Parquet file (zstd) each, with the counts of the parse in its metadata. It holds every row, so that
deduplication and the treatment of bad rows can differ between runs. What cannot be written or read is left:
the file itself is parsed again.

Left out on purpose: a size limit. Deleting the folder is safe at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from shepherd.cache import cache_folder
from shepherd.files import sha256_file
from shepherd.records import StepRow

PARSER_VERSION = 1
"""Part of the name of every cached file: raise it when a rule of the parser changes."""

_BATCH = 8192
_COUNTS = b"shepherd_counts"


class Kept(NamedTuple):
    """What a cached file holds: the counts of its parse, and the rows with their lines."""

    counts: dict[str, Any]
    rows: Iterator[tuple[int, StepRow]]


def place_of(path: str, variant: str) -> Path:
    """Where the parsed rows of a file are kept; `variant` names what else the parse depends on."""
    return cache_folder("rows") / f"{sha256_file(path)[:32]}-{variant}-v{PARSER_VERSION}.parquet"


def read(place: Path) -> Kept | None:
    """What is kept there; None where there is nothing that can be read."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(place)
        counts = json.loads(file.metadata.metadata[_COUNTS])
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError):
        return None
    return Kept(counts, _rows(file))


def _rows(file: Any) -> Iterator[tuple[int, StepRow]]:
    with file:
        for batch in file.iter_batches(batch_size=_BATCH):
            columns = [column.to_pylist() for column in batch.columns]
            for line, question, steps, labels, source, identity in zip(*columns, strict=True):
                yield line, StepRow(question, tuple(steps), tuple(labels), source, identity)


class Writer:
    """Writes rows aside; the file takes its place in `finish` alone: a reader that stops leaves nothing."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._aside = place.with_name(f"{place.name}.{os.getpid()}.partial")
        self._file: Any = None
        self._rows: list[tuple[int, StepRow]] = []

    def __enter__(self) -> Writer:
        import pyarrow
        import pyarrow.parquet as parquet

        text = pyarrow.string()
        fields = {
            "line": pyarrow.int64(),
            "question": text,
            "steps": pyarrow.list_(text),
            "labels": pyarrow.list_(pyarrow.float64()),
            "source": text,
            "id": text,
        }
        with suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._file = parquet.ParquetWriter(
                self._aside,
                pyarrow.schema(fields),
                compression="zstd",
                use_dictionary=["question", "source"],
            )
        return self

    def add(self, line: int, row: StepRow) -> None:
        """Keep one more row."""
        if self._file is None:
            return
        self._rows.append((line, row))
        if len(self._rows) >= _BATCH:
            self._flush()

    def finish(self, counts: dict[str, Any]) -> None:
        """Put the file in its place, with the counts of the whole parse."""
        self._flush()
        if self._file is None:
            return
        try:
            self._file.add_key_value_metadata({_COUNTS: json.dumps(counts)})
            self._file.close()
            self._aside.replace(self._place)
        except OSError:
            self._drop()
        self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def _flush(self) -> None:
        import pyarrow

        if self._file is None or not self._rows:
            return
        rows, self._rows = self._rows, []
        columns = [
            [line for line, _ in rows],
            *(
                [getattr(row, name) for _, row in rows]
                for name in ("question", "steps", "labels", "source", "id")
            ),
        ]
        try:
            self._file.write_batch(
                pyarrow.record_batch(
                    [
                        pyarrow.array(column, type=field.type)
                        for column, field in zip(columns, self._file.schema, strict=True)
                    ],
                    schema=self._file.schema,
                )
            )
        except (OSError, pyarrow.ArrowException, UnicodeError):
            self._drop()

    def _drop(self) -> None:
        """Leave it: the disk is full, or whoever read has stopped."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        self._rows = []
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)
