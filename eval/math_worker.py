"""A process of its own that says whether two answers are the same mathematics; run as a script.

It reads one JSON list ``[gold, answer]`` a line and writes ``1``, ``0`` or ``null`` (nothing can be said) a
line, after a first line ``ready``. It sets no time limit itself: whoever started it kills it (see
`eval.equivalence`), because neither a power tower nor a loop in C listens to a signal.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from functools import lru_cache
from typing import Any

MEMORY_BYTES = 4 << 30
"""Address space of the process; a number that does not fit into it is an answer nobody can check."""


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    from math_verify import parse

    return parse(f"${text}$", parsing_timeout=None)


def is_same(gold: str, answer: str) -> bool | None:
    """Does math-verify hold the answer equal to the gold answer? None if it cannot read one of them."""
    from math_verify import verify

    try:
        expected, given = _parsed(gold), _parsed(answer)
        if not expected or not given:
            return None
        return bool(verify(expected, given, timeout_seconds=None))
    except (
        Exception,
        MemoryError,
    ):  # hostile text may make a parser raise anything
        return None


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    is_same("1", "1")  # imports sympy and warms the parser, before the clock of a first pair runs
    replies, sys.stdout = sys.stdout, sys.stderr  # a library that prints must not answer
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        print(json.dumps({True: 1, False: 0, None: None}[is_same(gold, answer)]), file=replies, flush=True)


if __name__ == "__main__":
    main()
