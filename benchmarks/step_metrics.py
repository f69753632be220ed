"""`shepherd eval-steps` on the embedded world, on real rows, and on many rows: figures and times.

    SHEPHERD_DATA=FOLDER .venv/bin/python benchmarks/step_metrics.py      (about 3 minutes on one core)

Without SHEPHERD_DATA the real rows are left out. The packaged verifier reads one small world; what it makes
of ProcessBench (half of its GSM8K rows) and of BIG-Bench-Mistake (multistep arithmetic) is reported as it is.
The many rows are drawn: 5,000 rows of 2,500 problems, 2 to 10 steps, scores that are too sure of themselves.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from record.machine import keep, machine

REAL = {
    "processbench": "processbench/gsm8k_half.jsonl",
    "bigbench_mistake": "bbmistake/multistep_arithmetic.jsonl",
}


def judged(data: str, work: Path, limit: str = "null") -> dict[str, Any]:
    """What the command measures on the first rows of a source, without its curves, and what it took."""
    from shepherd.config import load_config
    from shepherd.runs import Run
    from verifier.evaluate.config import EvalStepsConfig
    from verifier.evaluate.run import evaluate, read_given

    keys = (f"data={data}", f"limit={limit}", "store=false", "threads=1")
    config = load_config(EvalStepsConfig, "eval_steps", "embedded", keys)
    started = time.monotonic()
    run = Run.create("eval-steps", config, work)
    result = evaluate(config, run, read_given(config))
    run.finish()
    seconds = time.monotonic() - started
    left_out = {"data", "scores", "sweep", "fit_sweep", "reliability", "calibration"}
    found = {key: value for key, value in result.items() if key not in left_out}
    calibration = {key: result["calibration"][key] for key in ("temperature", "before", "after")}
    return {**found, "calibration": calibration, "seconds": round(seconds, 1)}


def many_rows(rows: int, resamples: int, seed: int) -> dict[str, Any]:
    """Time of measuring many drawn rows, scores at hand."""
    from eval.judged import JudgedRow, Scored
    from eval.step_report import evaluate_steps
    from shepherd.records import StepRow

    rng = np.random.default_rng(seed)

    def draw(side: str) -> Scored:
        made, scores = [], []
        for number in range(rows):
            logits = rng.normal(2, 2, size=int(rng.integers(2, 11)))
            good = rng.random(len(logits)) < 1 / (1 + np.exp(-logits))
            row = StepRow(f"{side}{number // 2}", ("a step",) * len(good), tuple(map(float, good)))
            made.append(JudgedRow(row, bool(good.all())))
            scores.append((1 / (1 + np.exp(-2 * logits))).tolist())
        return Scored(made, scores)

    report, fit_on = draw("report"), draw("fit")
    started = time.process_time()
    found = evaluate_steps(report, fit_on, bootstrap=resamples)
    return {
        "rows": rows,
        "steps": found.counts["steps"],
        "resamples": resamples,
        "processor_seconds": round(time.process_time() - started, 2),
    }


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("build/step_metrics"), show_default=True
)
@click.option("--rows", default=5000, show_default=True)
@click.option("--resamples", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--smoke", is_flag=True, help="A few rows; nothing is written.")
def main(work: Path, rows: int, resamples: int, seed: int, smoke: bool) -> None:
    """Measure, print and keep."""
    if smoke:
        click.echo(f"many rows: {many_rows(100, 100, seed)}")
        with tempfile.TemporaryDirectory() as folder:
            click.echo(f"embedded: {judged('embedded', Path(folder) / 'run', '60')['seconds']} s")
        return
    on = machine()
    data = os.environ.get("SHEPHERD_DATA")
    sources = {"embedded": "embedded"}
    if data is not None:
        sources |= {name: str(Path(data) / file) for name, file in REAL.items()}
    results: dict[str, Any] = {"many_rows": many_rows(rows, resamples, seed)}
    click.echo(f"many rows: {results['many_rows']}")
    stamp = time.strftime("%Y%m%dt%H%M%S")
    for name, source in sources.items():
        results[name] = found = judged(source, work / f"{name}-{stamp}")
        click.echo(f"{name}: {found['seconds']} s")
        for figure, value in found.items():
            if isinstance(value, dict) and "ci95" in value:
                click.echo(f"  {figure}: {value}")
        for each in found["diagnostics"]:
            click.echo(f"  {'ALARM ' if each['alarm'] else ''}{each['name']}: {each['says']}")
    keep("step_metrics", on, results)


if __name__ == "__main__":
    main()
