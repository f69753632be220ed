"""`shepherd report`: from run directories to one HTML page, a Markdown file, plots and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import Field

from eval.canvas import write_figure
from eval.page import compare_section, rerank_section, steps_section
from eval.page.blocks import Picture, Section
from eval.page.markdown import markdown
from eval.page.pictures import inline_svg
from eval.page.problems import FILTERS, view
from eval.page.read import RESULTS, Candidates, ReadRun, read_candidates, title_of
from eval.page.render import Page, Shelf, render
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
    shelves: Sequence[Shelf]
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
                write_figure(figure, folder / PLOTS / block.name)
                drawn[block.name] = inline_svg(figure, block.name, visible(block.says))
    log(f"{len(drawn)} plots: {folder / PLOTS}")
    sections = [each.section for each in shown]
    shelves = [shelf for each in shown for shelf in each.shelves]
    page = Page(sections, shelves, [each.lines for each in shown], drawn)
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
    candidates, lines = read_candidates(run)
    shelves = []
    for place, each in enumerate(candidates, start=1):
        shelf, more = _shelf(each, key if not each.name else f"{key}-cell{place}", title)
        shelves.append(shelf)
        lines += more
    section = Section(
        key=key,
        title=title,
        facts=say.facts(run.results),
        verdicts=say.verdicts(run.results),
        blocks=list(say.blocks(run.results, title, key)),
        repeat=[cost(run, candidates), *repeat(run)],
    )
    return _Shown(run, section, shelves, lines)


def _shelf(given: Candidates, key: str, title: str) -> tuple[Shelf, list[str]]:
    """What the viewer shows of a pool, and what it does not."""
    headline = cast(Aggregation, given.headline if given.headline in get_args(Aggregation) else "min")
    viewer = view(
        given.pools,
        given.scores,
        style=given.style,
        grader=given.grader,
        grader_timeout_s=given.timeout_s,
        headline=headline,
        softmin_temperature=given.softmin_temperature,
    )
    of = f"{visible(given.name)}: " if given.name else ""
    share, largest = viewer.index["share"], max(len(pool.candidates) for pool in given.pools)
    lines = []
    if largest > share:
        lines.append(
            f"{of}The viewer holds {share} of up to {largest:,} candidates of a problem: those that the "
            "rules take, then the first. Votes, rules and filters count all."
        )
    if not viewer.counts["ungraded"] < len(given.pools):
        lines.append(f"{of}No problem has a gold answer: nothing is graded.")
    return Shelf(key, f"{title}: {visible(given.name)}" if given.name else title, viewer), lines


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
        "viewers": [
            {
                "title": title,
                "problems": len(viewer.index["problems"]),
                "filters": [
                    {"name": name, "says": FILTERS[name], "problems": count}
                    for name, count in viewer.counts.items()
                ],
            }
            for _, title, viewer in shown.shelves
        ],
        "notes": list(shown.lines),
        "manifest": {key: run.manifest[key] for key in kept if key in run.manifest},
    }
