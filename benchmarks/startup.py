"""How long `shepherd train-prm` takes to its first step, on data of Math-Shepherd's size, cold and warm.

    SHEPHERD_DATA=FOLDER OMP_NUM_THREADS=2 .venv/bin/python benchmarks/startup.py   (5 minutes, 3 GB)
    .venv/bin/python benchmarks/startup.py --smoke                                  (half a minute; toy size)

The file has as many rows as Math-Shepherd, fifteen solutions a question. It is made of the real rows in
SHEPHERD_DATA (without it, of the packaged ones, with the packaged tokenizer in Mistral's place): numbers
are changed, in question and solution, so that hardly two rows are alike. Each start is a process of its own,
so that its peak memory is its own. A start is reading, checking against evaluation problems, tokenising, the
plan, its digest and the passes of the first step; imports and model apart. Peak memory counts pages of mapped
files, which the system takes back when it needs them; what is the process' own at the end stands beside it.
Results go to benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from record.machine import keep, machine
from record.tables import show
from trainers.base import save_mistral_tokenizer

from shepherd.assets import asset, resolve_model
from shepherd.files import read_jsonl
from shepherd.steps import TAG, render

ROWS, TOY_ROWS = 444_655, 3_000
SOLUTIONS, MIXED = 15, 20_000
SETTINGS: dict[str, Any] = {"on_bad_row": "skip", "dedup": True, "batch_tokens": 8192, "max_length": 512}
STARTS: dict[str, dict[str, Any]] = {
    "without the store": {"store": False},
    "cold": {},
    "warm": {},
    "warm, another seed and length": {"seed": 1, "max_length": 256},
}

WORK = (170e6, 37e3)
"""Operations of a token and of a pair in a Llama of 134 million weights: decides how passes are laid out."""
_HEADER = re.compile(r"(Step \d+:)")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--smoke", action="store_true", help="toy size, nothing written")
    arguments.add_argument("--start", metavar="JSON", help=argparse.SUPPRESS)
    arguments.add_argument("--rows", type=int, default=ROWS)
    arguments.add_argument(
        "--profile", action="store_true", help="the functions that take longest in each start"
    )
    asked = arguments.parse_args()
    if asked.start is not None:
        with cProfile.Profile() if asked.profile else nullcontext() as watched:
            said = start(json.loads(asked.start))
        if watched is not None:
            pstats.Stats(watched, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(9)
        print(json.dumps(said))
        return
    on = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, count = folder / "rows.jsonl", TOY_ROWS if asked.smoke else asked.rows
        write_rows(data, count)
        config = {**SETTINGS, **evaluation(), "base": tokenizer_folder(folder), "data": str(data)}
        found = {
            each: measure(config | more, folder / "store", asked.profile) for each, more in STARTS.items()
        }
        sizes = {kind: stored_bytes(folder / "store", kind) for kind in ("rows", "tokens")}
        facts = {"rows": count, "file_bytes": data.stat().st_size, "store_bytes": sizes}
    cold, warm = found["cold"], found["warm"]
    if not cold["digest"] == warm["digest"] == found["without the store"]["digest"]:
        raise SystemExit("the plans differ: what is kept is not what was made")
    result = {"settings": SETTINGS, **facts, "starts": found}
    show("startup", result)
    if not (asked.smoke or asked.profile):
        keep("startup", on, result)


def write_rows(path: Path, count: int) -> None:
    """Rows in Math-Shepherd's format, hardly two alike."""
    rng = random.Random(0)
    originals, mixed = list(islice(read_originals(), 500)), [digits(seed) for seed in range(MIXED)]
    with path.open("w", encoding="utf-8") as handle:
        for number in range(count):
            question, _ = split(originals[number // SOLUTIONS % len(originals)][0])
            text, label = originals[rng.randrange(len(originals))]
            own, others = mixed[number // SOLUTIONS % MIXED], mixed[rng.randrange(MIXED)]
            problem = f"{renumbered(question, own)}(Problem {number // SOLUTIONS}.) "
            row = {
                "input": problem + renumbered(split(text)[1], others),
                "label": problem + renumbered(split(label)[1], others),
                "task": "GSM8K",
            }
            handle.write(json.dumps(row) + "\n")


def read_originals() -> Iterator[tuple[str, str]]:
    """Real rows if they are at hand: text with tags, and with labels in their place."""
    folder = os.environ.get("SHEPHERD_DATA")
    if folder:
        path = Path(folder) / "math_shepherd" / "openr_samples_math-shepherd.jsonl"
        yield from ((row["input"], row["label"]) for _, row in read_jsonl(path))
        return
    print("SHEPHERD_DATA is not set: rows of the packaged set, the packaged tokenizer")
    for _, row in read_jsonl(asset("rows")):
        text = f"{row['question']} {render(row['steps'])}"
        signs = ["+" if value == 1.0 else "-" for value in row["labels"]]
        yield text, "".join(each for pair in zip(text.split(TAG), [*signs, ""], strict=True) for each in pair)


def evaluation() -> dict[str, Any]:
    """GSM8K's test questions to compare with, where they are at hand; the rows resemble some of them."""
    folder = os.environ.get("SHEPHERD_DATA")
    problems = str(Path(folder) / "gsm8k" / "test.jsonl") if folder else "embedded"
    return {"evaluation_problems": [problems], "allow_contamination": True}


def split(text: str) -> tuple[str, str]:
    """Question and solution."""
    at = text.index("Step 1:")
    return text[:at], text[at:]


def digits(seed: int) -> dict[int, int]:
    """Another digit for each digit."""
    mixed = list("0123456789")
    random.Random(seed).shuffle(mixed)
    return str.maketrans("0123456789", "".join(mixed))


def renumbered(text: str, mapping: dict[int, int]) -> str:
    """The text with other numbers, but for those of the steps' headers."""
    return "".join(
        part if part.startswith("Step ") else part.translate(mapping) for part in _HEADER.split(text)
    )


def tokenizer_folder(folder: Path) -> str:
    """Mistral's vocabulary where it is at hand."""
    if not os.environ.get("SHEPHERD_DATA"):
        return str(resolve_model("embedded:base"))
    made = folder / "tokenizer"
    made.mkdir()
    save_mistral_tokenizer(made)
    return str(made)


def measure(config: dict[str, Any], store: Path, profile: bool) -> dict[str, Any]:
    """One start, in a process of its own; its progress goes to this process' stderr."""
    done = subprocess.run(
        [sys.executable, __file__, "--start", json.dumps(config), *(["--profile"] if profile else [])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SHEPHERD_STORE": str(store), "SHEPHERD_CACHE": str(store.with_name("cache"))},
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def start(given: dict[str, Any]) -> dict[str, Any]:
    """What a start does and takes; imports are over when its clock begins."""
    from transformers import AutoTokenizer

    from verifier.batches import plan_digest, supervised
    from verifier.config import TrainPrmConfig
    from verifier.packing.passes import Work, plan_passes
    from verifier.prepare import prepare

    AutoTokenizer.from_pretrained(resolve_model("embedded:base"))  # imports on demand
    config = TrainPrmConfig.model_validate(given)
    imported_bytes = peak_bytes()
    began, busy = time.perf_counter(), time.process_time()
    prepared = prepare(config)
    ready = time.perf_counter()
    rows = [prepared.train.rows[i] for i in prepared.read_together[0]]
    passes = plan_passes([row.ids for row in rows], config.batch_tokens, Work(*WORK))
    assert sum(len(supervised(rows[member]).tags) for each in passes for member in each.members)
    batch = time.perf_counter()
    digest = plan_digest(prepared.train, prepared.plan)
    done = time.perf_counter()
    counts = prepared.counts()
    return {
        "seconds": done - began,
        "processor_seconds": time.process_time() - busy,
        "prepare_seconds": ready - began,
        "first_batch_seconds": batch - ready,
        "digest_seconds": done - batch,
        "peak_bytes": peak_bytes(),
        "own_bytes": own_bytes(),
        "imported_bytes": imported_bytes,
        "load": os.getloadavg()[0],
        "counts": {name: counts[name] for name in ("train", "heldout", "batches", "steps", "padding")},
        "digest": digest,
    }


def peak_bytes() -> int:
    """The most memory this process has had, pages of mapped files among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def own_bytes() -> int | None:
    """Memory this process has now that is no page of a file; None where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"RssAnon:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    return None if found is None else int(found[1]) * 1024


def stored_bytes(store: Path, kind: str) -> int:
    return sum(file.stat().st_size for file in store.glob(f"columns/{kind}-*/*"))


if __name__ == "__main__":
    main()
