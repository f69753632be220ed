"""How quick the report's page is in headless Chromium at 1,319 problems of 16 candidates.

    .venv/bin/python benchmarks/page.py         (a minute on one core; make test-browser sets it up)

The pool is made up: five steps of some 70 characters from a vocabulary of 2,000 words, a score a step, so
that the page is about as large as with real texts (``--run RUN`` opens a run of `shepherd rerank` instead).
Times are wall-clock in Chromium, of each kind the median and the worst; a click is timed until the frame
after it is painted. The aims are a first paint under 2 s and a filter under 200 ms; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from record.machine import machine

from shepherd.files import write_json, write_jsonl

RESULTS = Path(__file__).parent / "results" / "page.json"
PROBLEMS, CANDIDATES, STEPS, WORDS, VOCABULARY = 1319, 16, 5, 12, 2000

# Resolves after the frame that shows what was done has been painted.
PAINTED = """() => new Promise((done) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => done();
  channel.port2.postMessage(0);
}))"""
TIMED = f"""async ([id, value, event]) => {{
  const node = document.getElementById(id), problem = document.getElementById('problem');
  const shown = new Promise((done) => new MutationObserver((_, self) => {{ self.disconnect(); done(); }})
    .observe(problem, {{ childList: true }}));
  const start = performance.now();
  const key = new KeyboardEvent('keydown', {{ key: value, bubbles: true }});
  if (event === 'key') document.body.dispatchEvent(key);
  else {{ node.value = value; node.dispatchEvent(new Event(event)); }}
  await ({PAINTED})();
  const painted = performance.now() - start;
  await Promise.race([shown, new Promise((done) => setTimeout(done, 2000))]);
  await ({PAINTED})();
  return [painted, performance.now() - start];
}}"""


def make_run(folder: Path, problems: int, size: int, seed: int) -> Path:
    """A finished `shepherd rerank` run of made-up candidates and scores."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(VOCABULARY)])

    def text(count: int) -> str:
        return " ".join(rng.choice(words, count))

    pools, scores = [], []
    for number in range(problems):
        answers = rng.choice(6, size, p=(0.4, 0.25, 0.15, 0.1, 0.06, 0.04))
        candidates = []
        for answer in answers:
            lines = [f"Step {at}: {text(WORDS)} ки" for at in range(1, STEPS)]
            lines.append(f"Step {STEPS}: {text(WORDS)} The answer is: {answer} ки")
            candidates.append({"text": "\n".join(lines), "generator": "made up", "tokens": 90})
        made = rng.beta(4, 1.5, (size, STEPS)).round(6).tolist()
        pools.append({"id": f"p{number}", "question": text(40), "answer": "0", "candidates": candidates})
        scores.append({"id": f"p{number}", "step_scores": made, "verifier": "made up"})
    write_jsonl(folder / "pool.jsonl", pools)
    write_jsonl(folder / "scores.jsonl", scores)
    shepherd(
        "rerank", "--pool", folder / "pool.jsonl", "--scores", folder / "scores.jsonl",
        "--out", folder / "run", "--set", "evaluation.bootstrap=1000", "--set", "evaluation.subsets=10",
    )  # fmt: skip
    return folder / "run"


def shepherd(*arguments: object) -> float:
    """Run a command of the project; seconds of the processor that it took."""
    before = os.times()
    command = [sys.executable, "-m", "shepherd", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measured(browser: Any, page_file: Path, repeats: int) -> Iterator[tuple[str, float]]:
    """Each thing that was timed, in milliseconds."""
    for _ in range(repeats):
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.locator("html[data-viewer]").wait_for(state="attached")
        yield (
            "first paint",
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
        )
        yield "first problem in the viewer", page.evaluate("performance.now()")
        filters = page.eval_on_selector_all("#filter option", "(all) => all.map((each) => each.value)")
        for name in [*filters[1:], "all"]:
            painted, shown = page.evaluate(TIMED, ["filter", name, "change"])
            yield "filter, list", painted
            yield "filter, list and problem", shown
        for typed in ("a", "ab", "abc", ""):
            painted, _ = page.evaluate(TIMED, ["search", typed, "input"])
            yield "search, a letter", painted
        for _ in range(20):
            _, shown = page.evaluate(TIMED, ["list", "j", "key"])
            yield "next problem", shown
        yield "index unpacked", page.evaluate(_unpacking("run1-index"))
        yield "50 problems unpacked", page.evaluate(_unpacking("run1-block1"))
        context.close()


def _unpacking(name: str) -> str:
    return f"""async () => {{
      const start = performance.now();
      await unpack('{name}');
      return performance.now() - start;
    }}"""


def _missing(what: str, smoke: bool) -> str | int:
    """How to end where a part is not installed: a smoke run goes on without it."""
    if not smoke:
        return what
    print(f"left out: {what}")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--run", type=Path, help="a finished run of shepherd rerank, in place of the made-up one"
    )
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--repeats", type=int, default=5, help="how often the page is opened anew")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="few problems, opened once; nothing written")
    given = parser.parse_args()
    on = machine()
    if given.smoke:
        given.problems, given.candidates, given.repeats = 120, 4, 1
    named = [os.environ.get("SHEPHERD_CHROMIUM"), *map(shutil.which, ("chromium", "google-chrome"))]
    chromium = next(filter(None, named), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        sys.exit(_missing("no playwright: make test-browser installs it", given.smoke))
    if chromium is None:
        sys.exit(_missing("no chromium: install it (Debian: apt-get install chromium)", given.smoke))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = given.run or make_run(folder, given.problems, given.candidates, given.seed)
        took = shepherd("report", run, "--out", folder / "report")
        page = folder / "report" / "report.html"
        viewer = json.loads((folder / "report" / "results.json").read_text())["runs"][0]["viewers"][0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
            )  # fmt: skip
            version = browser.version
            times: dict[str, list[float]] = {}
            start = time.monotonic()
            for what, milliseconds in measured(browser, page, given.repeats):
                times.setdefault(what, []).append(milliseconds)
            browser.close()
        sizes = {"page_bytes": page.stat().st_size, "pool_bytes": (run / "pool.jsonl").stat().st_size}
    print(
        f"{viewer['problems']:,} problems; page {sizes['page_bytes'] / 1e6:.1f} MB "
        f"(pool {sizes['pool_bytes'] / 1e6:.1f} MB), written in {took:.1f} s of processor; "
        f"Chromium {version}, {time.monotonic() - start:.0f} s, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(f"  {'milliseconds':<34} {'median':>8} {'worst':>8} {'times':>6}")
    for what, each in times.items():
        print(f"  {what:<34} {statistics.median(each):8.1f} {max(each):8.1f} {len(each):6d}")
    if given.smoke:
        return
    write_json(
        given.out,
        {
            "machine": on,
            "problems": viewer["problems"],
            "candidates": None if given.run else given.candidates,
            **sizes,
            "report_processor_s": round(took, 2),
            "chromium": version,
            "milliseconds": {
                what: {
                    "median": round(statistics.median(each), 1),
                    "worst": round(max(each), 1),
                    "times": len(each),
                }
                for what, each in times.items()
            },
        },
    )


if __name__ == "__main__":
    main()
