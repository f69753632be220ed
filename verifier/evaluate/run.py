"""`shepherd eval-steps`: rows, step scores, figures; each stage leaves its file, and scoring can be resumed.

scores.jsonl -> results.json, calibration.json, sweep.png, reliability.png (and .svg), verifier.json if asked
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.calibration import FILE, KEY
from eval.judged import JudgedRow, Scored, split_by_problem
from eval.step_plots import plot_reliability, plot_sweep
from eval.step_report import evaluate_steps
from shepherd.console import clean
from shepherd.errors import ShepherdError
from shepherd.files import read_json, write_json
from shepherd.runs import Run
from shepherd.shelf import open_store
from verifier.calibrated import save_calibration
from verifier.data.rows import RowCounts, describe
from verifier.evaluate.config import EvalStepsConfig
from verifier.evaluate.rows import NamedRow, name_rows, read_judged
from verifier.evaluate.scores import Scores, read_row_scores, score_rows
from verifier.places import find_place
from verifier.show import RESULT

SCORES, SWEEP, RELIABILITY = "scores.jsonl", "sweep", "reliability"


@dataclass(frozen=True, slots=True)
class Given:
    """What is read before there is a run, so that a bad line leaves none.

    Attributes:
        rows: those of the data, then those of the fit file; in the order in which they are scored.
        reported: how many of them are the data's.
        read: counts of the data.
        fit_read: counts of the fit file; None without one.
        scores: of all rows, where a file has them.
    """

    rows: list[NamedRow]
    reported: int
    read: RowCounts
    fit_read: RowCounts | None
    scores: Scores | None


def read_given(config: EvalStepsConfig) -> Given:
    """Read the rows, and the scores where they come from a file."""
    read = partial(
        read_judged, on_bad_row=config.on_bad_row, limit=config.limit, neutral=config.prm800k_neutral
    )
    rows, counts = read(config.data)
    fit_rows, fit_counts = read(config.fit) if config.fit is not None else ([], None)
    named = name_rows([*rows, *fit_rows])
    scores = None if config.scores is None else read_row_scores(config.scores, named)
    return Given(named, len(rows), counts, fit_counts, scores)


def evaluate(config: EvalStepsConfig, run: Run, given: Given) -> dict[str, Any]:
    """Score, measure and write ``results.json``; what the run's directory has is kept."""
    for counts in filter(None, (given.read, given.fit_read)):
        for line in describe(counts):
            run.log(line)
    scores = _score(config, run, given) if given.scores is None else given.scores
    rows = [each.judged for each in given.rows]
    fit_on, report_on, split = _split(config, given, rows)
    about = {"data": config.fit or config.data, "verifier": run.manifest.get("verifier")}
    started = time.monotonic()
    report = evaluate_steps(
        _pick(rows, scores, report_on),
        _pick(rows, scores, fit_on),
        how=_rule(config),
        threshold=config.threshold,
        bins=config.bins,
        bootstrap=config.bootstrap,
        seed=config.seed,
        trained=_training_text(config),
        fitted_on=about,
    )
    run.metric(measured_s=round(time.monotonic() - started, 3))
    result = {
        "data": config.data,
        "verifier": None if config.scores is not None else config.verifier,
        "verifier_id": run.manifest.get("verifier"),
        "scores": config.scores,
        **report.to_json(),
        "read": {"data": given.read.to_json(), "fit": given.fit_read and given.fit_read.to_json()},
    }
    given_threshold = {"threshold_given": config.threshold is not None}
    result["split"] = {**split, **result["split"], **given_threshold}
    _draw(run.path, result, config)
    write_json(run.path / RESULT, result)
    if report.calibrations is not None:
        write_json(run.path / FILE, {KEY: report.calibrations.to_json()})
    if config.save_calibration:
        if report.calibrations is None:
            raise ShepherdError(
                f"{config.fit or config.data}: the rows to fit on have not both right and wrong steps, so "
                "there is no calibration to save; give other rows with --fit FILE"
            )
        run.log(f"calibration saved: {save_calibration(config.verifier, report.calibrations)}")
    return result


def _split(
    config: EvalStepsConfig, given: Given, rows: list[JudgedRow]
) -> tuple[list[int], list[int], dict[str, Any]]:
    """Which rows are fitted on and which reported, and how that was decided."""
    if config.fit is None:
        halves = split_by_problem(rows, config.fit_fraction, config.seed)
        return (
            halves.fit,
            halves.report,
            {"by": "problem", "seed": config.seed, "fraction": config.fit_fraction},
        )
    reported = {row.row.question.strip() for row in rows[: given.reported]}
    others = range(given.reported, len(rows))
    fit_on = [at for at in others if rows[at].row.question.strip() not in reported]
    left_out = len(others) - len(fit_on)
    return fit_on, list(range(given.reported)), {"by": "file", "fit_file": config.fit, "left_out": left_out}


def _pick(rows: list[JudgedRow], scores: Scores, which: list[int]) -> Scored:
    return Scored([rows[at] for at in which], [scores[at] for at in which])


def _score(config: EvalStepsConfig, run: Run, given: Given) -> Scores:
    """Score every row; finished lines of ``scores.jsonl`` stay."""
    from verifier import load_verifier
    from verifier.kept import scores_shelf
    from verifier.lazy import LazyVerifier

    load = partial(load_verifier, config.verifier, **config.loading)
    verifier = LazyVerifier(
        config.verifier, load, device=config.device, engine=config.scorer, threads=config.threads
    )
    run.describe(verifier=verifier.id)
    started = time.monotonic()
    with closing(verifier), open_store(config.store) as store:
        shelf = scores_shelf(store, verifier, batch_tokens=config.batch_tokens)
        found = score_rows(
            verifier,
            given.rows,
            run.path / SCORES,
            chunk=config.chunk,
            batch_tokens=config.batch_tokens,
            shelf=shelf,
        )
    run.metric(**verifier.counts._asdict(), seconds=round(time.monotonic() - started, 3))
    return found


def _rule(config: EvalStepsConfig) -> Any:
    from verifier.description import rule_of_verifier

    return "min" if config.scores is not None else rule_of_verifier(config.verifier)


def _training_text(config: EvalStepsConfig) -> dict[str, float] | None:
    """Lengths of the texts that the verifier was trained on, where its ``verifier.json`` has them."""
    if config.scores is not None:
        return None
    folder = find_place(config.verifier).folder
    file = None if folder is None else folder / "verifier.json"
    found = read_json(file).get("training_text") if file is not None and file.is_file() else None
    return found if isinstance(found, dict) and {"p5", "p95"} <= found.keys() else None


def _draw(folder: Path, result: dict[str, Any], config: EvalStepsConfig) -> None:
    whose = Path(config.scores).name if config.scores is not None else f"verifier {config.verifier}"
    title = clean(f"{Path(config.data).name}, {whose}")
    plot_sweep(result, folder / SWEEP, title)
    plot_reliability(result, folder / RELIABILITY, title)
