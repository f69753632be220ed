"""What a run directory holds, as the report needs it; a piece that is missing is a line, not an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from eval.scores import SOFTMIN_TEMPERATURE
from shepherd.answers import GRADER_TIMEOUT_S, STYLES, AnswerStyle, Grader, PoolFormat, style_of
from shepherd.errors import ShepherdError
from shepherd.files import read_json
from shepherd.records import ProblemPool, ScoreLine, read_pool, read_scores
from shepherd.runs import CONFIG, DONE, MANIFEST, find_run

ALONE = "none"
"""What a comparison calls the verifier of a cell that has none."""

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


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one pool of a run holds, for the step viewer.

    Attributes:
        name: the cell of a comparison that it is of; empty where the run has one pool.
        file: of the pool, inside the run.
        pools: problems with their candidates.
        scores: their step scores; None where there are none.
        headline: the rule that the verifier was made for.
        style: how the candidates state their answers.
        grader: how answers are compared.
        timeout_s: seconds that math-verify is given for one pair of answers.
        softmin_temperature: T of soft-min in the run's own figures.
    """

    name: str
    file: str
    pools: Sequence[ProblemPool]
    scores: Sequence[ScoreLine] | None
    headline: str
    style: AnswerStyle
    grader: Grader
    timeout_s: float
    softmin_temperature: float


def read_candidates(run: ReadRun) -> tuple[list[Candidates], list[str]]:
    """The candidates of a run, and a line for what it has not.

    Returns:
        One pool of a rerank, one a cell of a comparison, none of an evaluation of steps.

    Raises:
        ShepherdError: if a file is there and is broken.
    """
    wanted: list[tuple[str, str, str, Mapping[str, Any], Any, Mapping[str, Any] | None]] = []
    if run.command == "rerank":
        wanted = [("", POOL, SCORES, run.results, _asked_style(run), run.setting("answers"))]
    elif run.command == "compare":
        for cell in run.results["cells"]:
            how = cell.get("answers") or {}
            pool = f"{cell['generator']}/{POOL}"
            scores = f"{cell['generator']}/{cell['verifier']}.{SCORES}"
            name = name_of(cell)
            wanted.append((name, pool, scores, cell["report"], how.get("style"), how))
    else:
        return [], [f"A run of {run.command} keeps no candidates; give its runs of rerank too to see steps."]
    found, lines = [], []
    for name, pool, scores, report, style, how in wanted:
        of = f"{name}: " if name else ""
        if not (run.path / pool).is_file():
            lines.append(f"{of}{run.path} holds no {pool}: there are no candidates to show.")
            continue
        pools = read_pool(run.path / pool)
        scored = (run.path / scores).is_file()
        if not scored:
            lines.append(
                f"{of}No step scores ({scores}): steps are shown without colours, rules without a verifier."
            )
        grader, seconds = (how or {}).get("grader"), (how or {}).get("timeout_s")
        found.append(
            Candidates(
                name=name,
                file=pool,
                pools=pools,
                scores=read_scores(run.path / scores, pools) if scored else None,
                headline=str(report.get("headline", "min")),
                style=cast(AnswerStyle, style) if style in STYLES else "auto",
                grader=cast(Grader, grader) if grader in get_args(Grader) else "auto",
                timeout_s=float(seconds) if isinstance(seconds, int | float) else GRADER_TIMEOUT_S,
                softmin_temperature=_softmin_temperature(report),
            )
        )
    return found, lines


def name_of(cell: Mapping[str, Any]) -> str:
    """A cell of a comparison in words.

    Example:
        >>> [name_of({"generator": "weak", "verifier": each}) for each in ("v", "none")]
        ['weak, v', 'weak, no verifier']
    """
    verifier = cell["verifier"]
    return f"{cell['generator']}, {'no verifier' if verifier == ALONE else verifier}"


def _softmin_temperature(report: Mapping[str, Any]) -> float:
    """What the report's soft-min was taken at; the default where an older one does not say."""
    value = (report.get("settings") or {}).get("softmin_temperature")
    return float(value) if isinstance(value, int | float) and value > 0 else SOFTMIN_TEMPERATURE


def _asked_style(run: ReadRun) -> AnswerStyle:
    """The style that a run of rerank read answers in: its own, or that of its pool's format."""
    asked = run.setting("answers", "style")
    pool_format = run.setting("pool", "format") if run.setting("pool", "file") is not None else None
    return style_of(
        cast(AnswerStyle, asked) if asked in STYLES else "auto",
        cast(PoolFormat, pool_format) if pool_format in get_args(PoolFormat) else None,
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
