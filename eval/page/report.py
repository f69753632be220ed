"""`shepherd report`: from run directories to one HTML page, a Markdown file, plots and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import Field

from eval.page import compare_section, rerank_section, steps_section
from eval.page.blocks import Picture, Section
from eval.page.markdown import markdown
from eval.page.pictures import inline_svg, write_files
from eval.page.problems import FILTERS, Viewer, view
from eval.page.read import RESULTS, ReadRun, grading_of, read_candidates, title_of
from eval.page.render import Page, render
from eval.page.repeat import cost, repeat
from eval.page.visible import visible
from eval.scores import Aggregation
from shepherd.config import Config
from shepherd.files import atomic_write, write_json

PAGE, MARKDOWN, PLOTS = "report.html", "report.md", "plots"

Log = Callable[[str], None]


class ReportConfig(Config):
    """What a report was made of: run directories."""

    runs: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A run as the report shows it."""

    run: ReadRun
    section: Section
    viewer: Viewer | None
    lines: Sequence[str]


def write_report(runs: Sequence[ReadRun], folder: Path, log: Log) -> dict[str, Any]:
    """Write the report of runs.

    Args:
        runs: finished runs, in the order in which they are shown.
        folder: gets ``report.html``, ``report.md``, ``results.json`` and ``plots/``.
        log: told what was done, a line at a time.

    Returns:
        What ``results.json`` has.
    """
    shown = []
    for place, run in enumerate(runs, start=1):
        shown.append(_show(run, f"run{place}"))
        log(f"{run.path}: read and graded")
    (folder / PLOTS).mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    for each in shown:
        for block in each.section.blocks:
            if isinstance(block, Picture):
                figure = block.draw()
                write_files(figure, folder / PLOTS, block.name)
                drawn[block.name] = inline_svg(figure, block.name, visible(block.says))
    log(f"{len(drawn)} plots: {folder / PLOTS}")
    sections = [each.section for each in shown]
    page = Page(sections, [each.viewer for each in shown], [each.lines for each in shown], drawn)
    with atomic_write(folder / PAGE) as handle:
        handle.write(render(page))
    with atomic_write(folder / MARKDOWN) as handle:
        handle.write(markdown(sections, PLOTS))
    result = {"page": PAGE, "markdown": MARKDOWN, "runs": [_summary(each) for each in shown]}
    write_json(folder / RESULTS, result)
    log(f"page: {folder / PAGE}")
    return result


def _show(run: ReadRun, key: str) -> _Shown:
    """Read the rest of a run, and say it in blocks."""
    title = visible(title_of(run))
    sections = {"rerank": rerank_section, "eval-steps": steps_section, "compare": compare_section}
    say = sections[run.command]
    viewer, pools, scores = None, None, None
    lines: list[str] = []
    if run.command == "rerank":
        pools, scores, lines = read_candidates(run)
        if pools is not None:
            style, grader, timeout_s = grading_of(run)
            asked = rerank_section.headline_of(run.results)
            headline = cast(Aggregation, asked if asked in get_args(Aggregation) else "min")
            viewer = view(
                pools, scores, style=style, grader=grader, grader_timeout_s=timeout_s, headline=headline
            )
            share, largest = viewer.index["share"], max(len(pool.candidates) for pool in pools)
            if largest > share:
                lines.append(
                    f"The viewer holds {share} of up to {largest:,} candidates of a problem: those that the "
                    "rules take, then the first. Votes, rules and filters count all."
                )
            if not viewer.counts["ungraded"] < len(pools):
                lines.append("No problem has a gold answer: nothing is graded.")
    else:
        lines.append(f"A run of {run.command} keeps no candidates; give its runs of rerank too to see steps.")
    section = Section(
        key=key,
        title=title,
        facts=say.facts(run.results),
        verdicts=say.verdicts(run.results),
        blocks=list(say.blocks(run.results, title, key)),
        repeat=[cost(run, pools, scores), *repeat(run)],
    )
    return _Shown(run, section, viewer, lines)


def _summary(shown: _Shown) -> Mapping[str, Any]:
    """One run in the report's own ``results.json``."""
    run = shown.run
    kept = (
        "created",
        "argv",
        "git",
        "versions",
        "python",
        "platform",
        "device",
        "seeds",
        "inputs",
        "parents",
    )
    viewer = shown.viewer
    return {
        "run": str(run.path),
        "command": run.command,
        "title": shown.section.title,
        "facts": shown.section.facts,
        "verdicts": [each.text for each in shown.section.verdicts],
        "results": run.results,
        "plots": [
            f"{PLOTS}/{block.name}.{suffix}"
            for block in shown.section.blocks
            if isinstance(block, Picture)
            for suffix in ("png", "svg")
        ],
        "viewer": None
        if viewer is None
        else {
            "problems": len(viewer.index["problems"]),
            "filters": [
                {"name": name, "says": FILTERS[name], "problems": count}
                for name, count in viewer.counts.items()
            ],
        },
        "notes": list(shown.lines),
        "manifest": {key: run.manifest[key] for key in kept if key in run.manifest},
    }
