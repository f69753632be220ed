"""Which answers are the same mathematics, by math-verify, in a process that can be killed.

math-verify hands texts of models to sympy, which may loop, and its own limit is a signal that C code does not
hear. So it runs in a worker (`eval.math_worker`); a pair that takes longer than the limit costs the worker
its life, counts as None, and the next pair gets a new worker.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from shepherd.answers import GRADER_TIMEOUT_S
from shepherd.errors import ShepherdError

START_S = 120.0
"""Seconds a worker is given to import sympy: on a busy machine that takes long."""

_WORKER = Path(__file__).with_name("math_worker.py")


class Classes(NamedTuple):
    """For each answer the text that stands for all that equal it; None where there is none to compare.

    Attributes:
        answers: the gold text itself for an answer that equals it.
        timeouts: answers that became None because the comparison was killed.
    """

    answers: tuple[str | None, ...]
    timeouts: int


class Equivalence:
    r"""Compares pairs of answers; each pair once. Use it as a context: a worker is a process.

    Example:
        >>> with Equivalence() as same:
        ...     same.compare(r"\frac{\pi}{2}", r"0.5\pi"), same.compare("x + 1", "x + 2")
        (True, False)
    """

    def __init__(self, timeout_s: float = GRADER_TIMEOUT_S, worker: Sequence[str] | None = None) -> None:
        self.timeout_s = timeout_s
        self.killed = 0
        # -P: the folder of the script holds modules of this package, which must not shadow others.
        self._command = list(worker or (sys.executable, "-P", str(_WORKER)))
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[tuple[str, str], bool | None] = {}
        self._timed_out: set[tuple[str, str]] = set()

    def __enter__(self) -> Equivalence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def compare(self, gold: str, answer: str) -> bool | None:
        """Whether an answer equals the gold answer; None if it was killed, or one of them cannot be read.

        math-verify is not symmetric (``x = 5`` answers ``5``), so the order counts.
        """
        if gold == answer:
            return True
        pair = (gold, answer)
        if pair not in self._known:
            self._known[pair] = self._ask(pair)
        return self._known[pair]

    def classes(self, gold: str, answers: Sequence[str | None]) -> Classes:
        """Put answers that are equal under one name, in the order in which they come.

        Each answer is compared with the gold answer, then with the first of each class before it: the same
        answers in the same order give the same classes.

        Args:
            gold: the right answer as text.
            answers: texts of the answers; None for none.

        Example:
            >>> with Equivalence() as same:
            ...     same.classes("2x", ["x + x", "3x", None, "x*3"]).answers
            ('2x', '3x', None, '3x')
        """
        names = [gold]
        name_of: dict[str, str | None] = {gold: gold}
        timeouts = 0
        for answer in answers:
            if answer is not None and answer not in name_of:
                name_of[answer] = self._class_of(answer, names)
            if answer is not None and name_of[answer] is None:
                timeouts += 1
        return Classes(tuple(None if each is None else name_of[each] for each in answers), timeouts)

    def _class_of(self, answer: str, names: list[str]) -> str | None:
        """The name of an answer's class, which may be a new one; None if a comparison was killed."""
        for name in names:
            if self.compare(name, answer):
                return name
            if (name, answer) in self._timed_out:
                return None
        names.append(answer)
        return answer

    def _ask(self, pair: tuple[str, str]) -> bool | None:
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(pair).encode() + b"\n")
            process.stdin.flush()
            reply = self._reply(process, self.timeout_s)
        except BrokenPipeError:
            reply = None
        if reply is None:
            self.killed += 1
            self._timed_out.add(pair)
            self._kill()
            return None
        return {b"1": True, b"0": False}.get(reply)

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if self._reply(self._process, START_S) != b"ready":
            self._kill()
            raise ShepherdError(
                "math-verify: its process does not start; try: python -c 'import math_verify', or grade "
                "exact numbers alone with --set answers.grader=exact"
            )
        return self._process

    def _reply(self, process: subprocess.Popen[bytes], timeout_s: float) -> bytes | None:
        """One line of the worker; None if it does not come in time, or the worker is dead."""
        assert process.stdout is not None
        descriptor, line = process.stdout.fileno(), b""
        ends = time.monotonic() + timeout_s
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, ends - time.monotonic()))
            part = os.read(descriptor, 4096) if ready else b""
            if not part:
                return None
            line += part
        return line.strip()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what it was sent last was never read
                    stream.close()
        process.wait()
