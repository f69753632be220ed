"""Scalars for TensorBoard, beside ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any


class TensorBoard:
    """Writes event files into a folder; without a folder it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with suppress(OSError):  # a full disk shows in the files that count, which tell it in one line
                self._writer.close()

    def add(self, group: str, values: Mapping[str, Any], step: int) -> None:
        """Add every number of `values` as ``group/name``; of a metric with a baseline, its value."""
        if self._writer is None:
            return
        for name, value in values.items():
            number = value.get("value") if isinstance(value, Mapping) else value
            if isinstance(number, int | float):
                with suppress(OSError):
                    self._writer.add_scalar(f"{group}/{name}", number, step)
