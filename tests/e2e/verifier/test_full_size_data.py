"""Training data at the size of the full Math-Shepherd file: 445,000 rows, 793 MB, read as a stream.

Every process is measured by its own peak, so the work runs in processes of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROWS = 444_655
QUESTIONS = 29_644
"""About fifteen solutions a question, as the paper has them."""

REPEATED, ENDS_EARLY, HEADLESS = 2_000, 70, 30
PEAK_GIB = 3.0

_READ = """
import json, resource, sys, time
from verifier.data.rows import read_rows

rows, counts = read_rows(sys.argv[1], on_bad_row="skip", dedup=True)
print(json.dumps({
    **counts.to_json(),
    "questions": len(counts.questions),
    "labels": sum(len(row.labels) for row in rows),
    "positive": sum(label == 1.0 for row in rows for label in row.labels),
    "lines": [row.line for row in counts.skipped],
    "seconds": time.process_time(),
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}))
"""


class Written(NamedTuple):
    """A generated file and what was put into it."""

    path: Path
    steps: int
    positive: int
    bad_lines: list[int]


@pytest.fixture(scope="module")
def full_file(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write the file from a few hundred sentences: what counts is the size and the shape, not the sense."""
    rng = random.Random(0)
    words = ("she", "then", "buys", "apples", "gives", "half", "of", "them", "away", "again")
    said = [" ".join(rng.choices(words, k=16)) for _ in range(200)]
    path = tmp_path_factory.mktemp("full") / "math-shepherd.jsonl"
    bad_lines: list[int] = []
    repeated: list[str] = []
    steps_written = positive = 0
    with path.open("w") as handle:
        for number in range(ROWS - REPEATED):
            count = 3 + number % 5
            which = number % QUESTIONS
            question = f"{said[which % 200]}, and {said[which // 200]} for ${which}. How many are left? "
            steps = [
                f"Step {i}: {said[(number * 7 + i) % 200]} <<{number}+{i}={number + i}>>{number + i}."
                for i in range(1, count + 1)
            ]
            signs = ["+" if (number + i) % 10 < 3 else "-" for i in range(count)]
            text = "\n".join(f"{step} ки" for step in steps)
            label = "\n".join(f"{step} {sign}" for step, sign in zip(steps, signs, strict=True))
            if 1000 <= number < 1000 + ENDS_EARLY:
                label = label[: len(label) // 2]
                bad_lines.append(number + 1)
            elif 2000 <= number < 2000 + HEADLESS:
                text, label = text.replace("Step 1: ", ""), label.replace("Step 1: ", "")
                bad_lines.append(number + 1)
            else:
                steps_written += count
                positive += signs.count("+")
            row = {"input": question + text, "label": question + label, "task": "GSM8K"}
            line = json.dumps(row) + "\n"
            if 3000 <= number < 3000 + REPEATED:
                repeated.append(line)
            handle.write(line)
        handle.writelines(repeated)
    return Written(path, steps_written, positive, bad_lines)


def _measured(code: str, *arguments: str, cache: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "SHEPHERD_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "stderr": done.stderr}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_file_is_read_as_a_stream_and_kept_parsed(full_file: Written, tmp_path: Path) -> None:
    assert 700e6 < full_file.path.stat().st_size < 900e6
    first = _measured(_READ, str(full_file.path), cache=tmp_path)
    assert first["read"] == ROWS
    assert first["duplicates"] == REPEATED
    assert first["skipped"] == {"labels_end_early": ENDS_EARLY, "no_header": HEADLESS}
    assert first["lines"] == full_file.bad_lines
    assert first["kept"] == ROWS - REPEATED - ENDS_EARLY - HEADLESS
    assert first["questions"] == QUESTIONS
    assert (first["labels"], first["positive"]) == (full_file.steps, full_file.positive)
    assert first["peak_gib"] < PEAK_GIB
    assert "MiB" in first["stderr"]  # the progress
    (kept,) = (tmp_path / "rows").iterdir()
    assert kept.stat().st_size < full_file.path.stat().st_size / 4
    again = _measured(_READ, str(full_file.path), cache=tmp_path)
    same = ("read", "kept", "duplicates", "skipped", "oddities", "questions", "labels", "positive", "lines")
    assert {key: again[key] for key in same} == {key: first[key] for key in same}
    assert again["seconds"] < first["seconds"]
    assert again["peak_gib"] < PEAK_GIB
