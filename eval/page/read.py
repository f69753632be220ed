"""What a run directory holds, as the report needs it; a piece that is missing is a line, not an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from shepherd.answers import GRADER_TIMEOUT_S, STYLES, AnswerStyle, Grader, PoolFormat, style_of
from shepherd.errors import ShepherdError
from shepherd.files import read_json
from shepherd.records import ProblemPool, ScoreLine, read_pool, read_scores
from shepherd.runs import CONFIG, DONE, MANIFEST, find_run

RESULTS, POOL, SCORES = "results.json", "pool.jsonl", "scores.jsonl"

NEEDED: Mapping[str, tuple[str, ...]] = {
    "rerank": ("n", "problems", "rules", "curves"),
    "eval-steps": ("f1", "acc_error", "acc_clean", "threshold"),
    "compare": ("cells",),
}
"""Commands whose runs a report reads, and what ``results.json`` must have for it."""


@dataclass(frozen=True, slots=True)
class ReadRun:
    """One finished run.

    Attributes:
        path: its directory.
        command: what made it; a key of `NEEDED`.
        manifest: as ``manifest.json`` has it.
        config_text: ``config.yaml`` as it is; empty where it is missing.
        config: the same, read.
        results: as ``results.json`` has it, without ``schema_version``.
        finished: UTC time at which it ended.
    """

    path: Path
    command: str
    manifest: Mapping[str, Any]
    config_text: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    finished: str

    def setting(self, *keys: str) -> Any:
        """A value of the config by its keys; None where there is none."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def read_run(path: Path | str) -> ReadRun:
    """Read a finished run of a command that a report shows.

    Args:
        path: the directory, or its name under ``runs/``.

    Raises:
        ShepherdError: if it is no run, is not done, is a run of another command, or a file of it is broken.
    """
    path = find_run(path)
    manifest = read_json(path / MANIFEST)
    command = str(manifest.get("command"))
    if command not in NEEDED:
        raise ShepherdError(
            f"{path}: is a run of {command}; a report shows runs of {', '.join(NEEDED)}: give one of those"
        )
    if not (path / DONE).is_file():
        raise ShepherdError(f"{path}: is not done; finish it with shepherd {command} --resume {path}")
    results = read_json(path / RESULTS)
    results.pop("schema_version", None)
    missing = [key for key in NEEDED[command] if key not in results]
    if missing:
        raise ShepherdError(
            f'{path / RESULTS}: no "{missing[0]}" field; shepherd {command} writes one: run it again'
        )
    text = (path / CONFIG).read_text("utf-8", "replace") if (path / CONFIG).is_file() else ""
    return ReadRun(
        path=path,
        command=command,
        manifest=manifest,
        config_text=text,
        config=_config(path / CONFIG, text),
        results=results,
        finished=(path / DONE).read_text("utf-8", "replace").strip(),
    )


def read_candidates(run: ReadRun) -> tuple[list[ProblemPool] | None, list[ScoreLine] | None, list[str]]:
    """The candidates of a run and their step scores, and a line for each that it has not.

    Raises:
        ShepherdError: if a file is there and is broken.
    """
    lines = []
    pools = read_pool(run.path / POOL) if (run.path / POOL).is_file() else None
    scores = None
    if pools is None:
        lines.append(f"{run.path} holds no {POOL}: there are no candidates to show.")
    elif (run.path / SCORES).is_file():
        scores = read_scores(run.path / SCORES, pools)
    else:
        lines.append(f"No step scores ({SCORES}): steps are shown without colours, rules without a verifier.")
    return pools, scores, lines


def grading_of(run: ReadRun) -> tuple[AnswerStyle, Grader, float]:
    """How the run read and compared answers: style, grader, seconds a pair."""
    asked, grader = run.setting("answers", "style"), run.setting("answers", "grader")
    pool_format = run.setting("pool", "format") if run.setting("pool", "file") is not None else None
    seconds = run.setting("answers", "timeout_s")
    return (
        style_of(
            cast(AnswerStyle, asked) if asked in STYLES else "auto",
            cast(PoolFormat, pool_format) if pool_format in get_args(PoolFormat) else None,
        ),
        cast(Grader, grader) if grader in get_args(Grader) else "auto",
        float(seconds) if isinstance(seconds, int | float) else GRADER_TIMEOUT_S,
    )


def title_of(run: ReadRun) -> str:
    """What was measured, in a few words."""
    if run.command == "rerank":
        pool, verifier = run.setting("pool", "file"), run.setting("verifier")
        candidates = Path(str(pool)).name if pool is not None else run.setting("model")
        scores = run.setting("scores")
        if scores is not None:
            return f"{candidates}, scores of {Path(str(scores)).name}"
        return f"{candidates}, verifier {verifier}" if verifier else f"{candidates}, no verifier"
    if run.command == "compare":
        names = [str(each) for each in _listed(run.results.get("generators"))]
        return " against ".join(names) or run.path.name
    data, scores = run.setting("data"), run.setting("scores")
    rows = run.path.name if data is None else Path(str(data)).name
    if scores is not None:
        return f"steps of {rows}, scores of {Path(str(scores)).name}"
    return f"steps of {rows}" + (f", verifier {run.setting('verifier')}" if run.setting("verifier") else "")


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _config(path: Path, text: str) -> Mapping[str, Any]:
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ShepherdError(f"{path}: YAML that cannot be read: {str(error).splitlines()[0]}") from error
    return read if isinstance(read, dict) else {}
